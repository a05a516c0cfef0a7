# SPDX-License-Identifier: Apache-2.0
"""Results of unary requests, sent from postprocessing to ensemble_unary.

They are not tensors of the BLS response: before 25.01 these may crash the process that made the call
(docs/decisions.md).
"""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Iterator

import msgspec

from llm_ensemble.contract.stream_id import StreamId
from llm_ensemble.ipc.mailbox import Mailbox, Sender
from llm_ensemble.postprocessing.postprocessor import Text

OWNER = "ensemble_unary"


class UnaryResult(msgspec.Struct, frozen=True, array_like=True):
    """The one response of a stream that ensemble_unary forwarded. stream: its StreamId."""

    stream: int
    text: Text


class UnaryResultSender:
    """Postprocessing's side."""

    def __init__(self) -> None:
        self._sender = Sender(OWNER)

    def send(self, stream_id: StreamId, text: Text) -> None:
        """Send a result. Raise EngineError if ensemble_unary is gone."""
        self._sender.send(msgspec.msgpack.encode(UnaryResult(int(stream_id), text)))


class UnaryResults:
    """ensemble_unary's side: the results to come, by stream. A result of any other stream is dropped."""

    def __init__(self) -> None:
        self._pending: dict[int, concurrent.futures.Future[Text]] = {}
        self._decoder = msgspec.msgpack.Decoder(UnaryResult)
        self._mailbox = Mailbox(OWNER, self._on_message)

    @contextlib.contextmanager
    def pending(self, stream_id: StreamId) -> Iterator[concurrent.futures.Future[Text]]:
        """Provide the result of a stream to the block, as a future."""
        result: concurrent.futures.Future[Text] = concurrent.futures.Future()
        self._pending[stream_id] = result
        try:
            yield result
        finally:
            del self._pending[stream_id]

    def _on_message(self, message: bytes) -> None:
        result = self._decoder.decode(message)
        if pending := self._pending.get(result.stream):
            pending.set_result(result.text)
