# SPDX-License-Identifier: Apache-2.0
"""Short messages between the processes of the stages, over Unix sockets; a sender does not wait.

As BLS calls they would be requests, which any client could make too, and Triton would give them to any
instance of the model.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Client, Connection, Listener
from typing import Generic, TypeVar

from llm_ensemble.errors import EngineError

log = logging.getLogger(__name__)
Message = TypeVar("Message")


def address(owner: str) -> str:
    """Return the address of an owner's mailbox: an abstract Unix socket, which leaves no file behind.

    It is the same in all stages of one server, which are children of one process, and differs from another
    server's: process ids repeat in other containers, with which a host's network may be shared.
    """
    return f"\0llm-ensemble.{os.stat('/proc/self/ns/pid').st_ino}.{os.getppid()}.{owner}"


class Messages(Generic[Message]):
    """Calls `on_message` with each message sent to `owner`, from a thread a sender, until the process ends.

    Raises EngineError if the owner has a mailbox already.
    """

    def __init__(self, owner: str, on_message: Callable[[Message], None]) -> None:
        self._on_message = on_message
        try:
            self._listener = Listener(address(owner), "AF_UNIX")
        except OSError as error:
            raise EngineError(f"{owner} runs already: its config.pbtxt must have one instance") from error
        threading.Thread(target=self._listen, name="mailbox", daemon=True).start()

    def _listen(self) -> None:
        """Accept connections, a thread each: no sender can keep the messages of another from being read."""
        while True:
            connection = self._listener.accept()
            if _user_of(connection) != os.geteuid():
                log.error("a process of user %d sent a message; it was not read", _user_of(connection))
                connection.close()
                continue
            threading.Thread(target=self._read, args=[connection], daemon=True).start()

    def _read(self, connection: Connection) -> None:
        with contextlib.suppress(EOFError, OSError), connection:  # until the sender has gone
            for message in self._from(connection):
                try:
                    self._on_message(message)
                except Exception:
                    log.exception("a message was not understood")

    def _from(self, connection: Connection) -> Iterator[Message]:
        """Yield the messages of a sender. Raise EOFError when it has gone."""
        raise NotImplementedError


class Mailbox(Messages[bytes]):
    """One whose messages are bytes."""

    def _from(self, connection: Connection) -> Iterator[bytes]:
        while True:
            yield connection.recv_bytes()


def _user_of(connection: Connection) -> int:
    """Return the user id of the sender: an abstract socket has no permissions that would keep others out."""
    with socket.socket(fileno=os.dup(connection.fileno())) as ours:
        credentials = ours.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", credentials)
    return int(user)


class Sender:
    """Sends messages to an owner's mailbox; connects with the first. Thread-safe."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._connection: Connection | None = None
        self._is_lost = False
        self._lock = threading.Lock()

    def send(self, message: bytes) -> None:
        """Send a message. Raise EngineError if the mailbox is gone."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = Client(address(self._owner), "AF_UNIX")
                    self._is_lost = False
                self._connection.send_bytes(message)
            except OSError as error:
                self._connection, self._is_lost = None, True
                raise EngineError(f"{self._owner} takes no messages: {error}") from error

    @property
    def is_cut(self) -> bool:
        """Whether the process of the mailbox is gone, as far as messages to it were sent."""
        with self._lock:
            if self._connection is None:
                return self._is_lost
            try:
                return self._connection.poll()  # nothing ever comes back but the end
            except OSError:
                return True
