# SPDX-License-Identifier: Apache-2.0
"""Answers of plain requests on their way from postprocessing to ensemble_unary, by a mailbox.

Not as tensors of the BLS response: on tritonserver 2.51.0 those crash who asked (docs/decisions.md).
"""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Iterator

import msgspec

from llm_ensemble.completion import Text
from llm_ensemble.mailbox import Mailbox, Sender

OWNER = "ensemble_unary"


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """The whole answer of a stream that ensemble_unary forwarded under this number."""

    number: int
    text: Text


class AnswerSender:
    """Postprocessing's end."""

    def __init__(self) -> None:
        self._sender = Sender(OWNER)

    def send(self, number: int, text: Text) -> None:
        """Raises EngineError when nobody listens any more."""
        self._sender.send(msgspec.msgpack.encode(Answer(number, text)))


class Answers:
    """ensemble_unary's end: gives each answer to whoever waits for its number, drops one nobody expects."""

    def __init__(self) -> None:
        self._expected: dict[int, concurrent.futures.Future[Text]] = {}
        self._decoder = msgspec.msgpack.Decoder(Answer)
        self._mailbox = Mailbox(OWNER, self._take)

    @contextlib.contextmanager
    def expect(self, number: int) -> Iterator[concurrent.futures.Future[Text]]:
        """The answer to come; nobody expects it any more after the block."""
        answer: concurrent.futures.Future[Text] = concurrent.futures.Future()
        self._expected[number] = answer
        try:
            yield answer
        finally:
            del self._expected[number]

    def _take(self, note: bytes) -> None:
        answer = self._decoder.decode(note)
        if expected := self._expected.get(answer.number):
            expected.set_result(answer.text)
