# SPDX-License-Identifier: Apache-2.0
"""Short notes from one step's process to another's, beside Triton: who sends does not wait for who reads.

By a BLS call they would be a request, to any instance of the model, that every client could make, too.
Knows no Triton.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable
from multiprocessing.connection import Client, Connection, Listener

from llm_ensemble.errors import EngineError

log = logging.getLogger(__name__)


def address(owner: str) -> str:
    """An abstract Unix socket: no file to lie in the way or to clean up.

    The same in every step of one server, which are its children, and no other's: process numbers repeat
    in other containers, whose sockets may be ours when they share the host's network.
    """
    return f"\0llm-ensemble.{os.stat('/proc/self/ns/pid').st_ino}.{os.getppid()}.{owner}"


class Mailbox:
    """Calls `take` with each note sent to `owner`, from a thread a sender, until the process ends."""

    def __init__(self, owner: str, take: Callable[[bytes], None]) -> None:
        self._take = take
        try:
            self._listener = Listener(address(owner), "AF_UNIX")
        except OSError as error:
            raise EngineError(f"{owner} runs already: its config.pbtxt must have one instance") from error
        threading.Thread(target=self._listen, name="mailbox", daemon=True).start()

    def _listen(self) -> None:
        """A thread a connection: nobody who connects can keep another's notes from being read."""
        while True:
            connection = self._listener.accept()
            if _user_of(connection) != os.geteuid():
                log.error("a process of user %d sent a note; it was not read", _user_of(connection))
                connection.close()
                continue
            threading.Thread(target=self._read, args=[connection], daemon=True).start()

    def _read(self, connection: Connection) -> None:
        with contextlib.suppress(EOFError, OSError), connection:  # until the sender has gone
            while True:
                note = connection.recv_bytes()
                try:
                    self._take(note)
                except Exception:
                    log.exception("a note of %d bytes was not understood", len(note))


def _user_of(connection: Connection) -> int:
    """Who is at the other end: an abstract socket has no permissions, so anybody on the machine may be."""
    with socket.socket(fileno=os.dup(connection.fileno())) as ours:
        credentials = ours.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", credentials)
    return int(user)


class Sender:
    """Sends notes to an owner's mailbox; connects with the first. For one thread at a time or many."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    def send(self, note: bytes) -> None:
        """Raises EngineError when nobody listens any more."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = Client(address(self._owner), "AF_UNIX")
                self._connection.send_bytes(note)
            except OSError as error:
                self._connection = None
                raise EngineError(f"{self._owner} takes no notes: {error}") from error
