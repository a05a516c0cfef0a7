# SPDX-License-Identifier: Apache-2.0
"""Answers of plain requests on their way from postprocessing to ensemble_unary, by a socket of their own.

Not as tensors of the BLS response: on tritonserver 2.51.0 those crash who asked (docs/decisions.md).
Knows no Triton.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Iterator
from multiprocessing.connection import Client, Connection, Listener

import msgspec

from llm_ensemble.completion import Text
from llm_ensemble.errors import EngineError


def address() -> str:
    """An abstract Unix socket: no file to lie in the way or to clean up.

    The same in every step of one server, which are its children, and no other's: process numbers repeat
    in other containers, whose sockets may be ours when they share the host's network.
    """
    return f"\0llm-ensemble.{os.stat('/proc/self/ns/pid').st_ino}.{os.getppid()}"


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """The whole answer of a stream that ensemble_unary forwarded under this number."""

    number: int
    text: Text


class AnswerSender:
    """Postprocessing's end; connects with the first answer."""

    def __init__(self) -> None:
        self._connection: Connection | None = None

    def send(self, number: int, text: Text) -> None:
        """Raises EngineError when nobody listens any more."""
        try:
            if self._connection is None:
                self._connection = Client(address(), "AF_UNIX")
            self._connection.send_bytes(msgspec.msgpack.encode(Answer(number, text)))
        except OSError as error:
            self._connection = None
            raise EngineError(f"stream {number}: ensemble_unary does not take the answer: {error}") from error


class Answers:
    """ensemble_unary's end: gives each answer to whoever waits for its number, drops one nobody expects."""

    def __init__(self) -> None:
        try:
            self._listener = Listener(address(), "AF_UNIX")
        except OSError as error:
            raise EngineError("ensemble_unary/config.pbtxt must have one instance") from error
        self._expected: dict[int, concurrent.futures.Future[Text]] = {}
        threading.Thread(target=self._listen, name="answers", daemon=True).start()

    @contextlib.contextmanager
    def expect(self, number: int) -> Iterator[concurrent.futures.Future[Text]]:
        """The answer to come; nobody expects it any more after the block."""
        answer: concurrent.futures.Future[Text] = concurrent.futures.Future()
        self._expected[number] = answer
        try:
            yield answer
        finally:
            del self._expected[number]

    def _listen(self) -> None:
        """A thread a connection: whoever else connects keeps postprocessing from nothing."""
        while True:
            connection = self._listener.accept()
            threading.Thread(target=self._read, args=[connection], daemon=True).start()

    def _read(self, connection: Connection) -> None:
        decoder = msgspec.msgpack.Decoder(Answer)
        with contextlib.suppress(EOFError, OSError, msgspec.DecodeError), connection:  # until it has gone
            while True:
                answer = decoder.decode(connection.recv_bytes())
                if expected := self._expected.get(answer.number):
                    expected.set_result(answer.text)
