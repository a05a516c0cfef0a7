# SPDX-License-Identifier: Apache-2.0
"""The open requests of ensemble_unary, which does itself what the stages before and after the engine do."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from tokenizers import Tokenizer

from llm_ensemble.contract.request import Chunk, Request, Submission, TextOptions
from llm_ensemble.contract.stream_id import StreamId
from llm_ensemble.errors import EngineError
from llm_ensemble.ipc.aborts import AbortSender
from llm_ensemble.ipc.chunks import ChunkReceiver
from llm_ensemble.ipc.submissions import SubmissionSender, ensemble_unary
from llm_ensemble.postprocessing.postprocessor import Postprocessor, Reply, Report

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.4  # between two looks at the calls
# The engine stage ends each stream by its deadline. If its end is not here so long after, it never comes.
LATE_SECONDS = 30


class Call(Reply, Protocol):
    """One request, answered once."""

    label: str  # the client's request id
    on_end: Callable[[], None]  # to be called with the response

    @property
    def is_disconnected(self) -> bool:
        """Whether the client has disconnected."""

    def reject(self, error: Exception) -> None:
        """Respond with an error, and count it."""


class Open(NamedTuple):
    """A call, the instance of the engine stage that has it, and its deadline."""

    call: Call
    engine: int
    deadline: float


class UnaryCalls:
    """Sends requests to the engine stage, and their chunks to a Postprocessor, which answers.

    owner: this instance of ensemble_unary. engines: instances of the engine stage. report: starts the report
    on a request.
    """

    def __init__(
        self, owner: int, engines: int, tokenizer: Tokenizer, report: Callable[[TextOptions], Report]
    ) -> None:
        self._owner = owner
        self._submissions = SubmissionSender(engines)
        self._abort = AbortSender(engines).abort
        self._postprocessor = Postprocessor(tokenizer, self._abort, report)
        self._calls: dict[StreamId, Open] = {}
        self._chunks = ChunkReceiver(ensemble_unary(owner), self._add)
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="unary-clients", daemon=True)
        self._watcher.start()

    @property
    def open(self) -> int:
        """The number of calls without a response."""
        return len(self._calls)

    def start(self, call: Call, input_ids: list[int], request: Request) -> None:
        """Submit a request and return; the response, or an error, comes from another thread."""
        stream_id, engine = StreamId.for_unary(), self._submissions.next_engine()
        submission = Submission(int(stream_id), self._owner, input_ids, request, call.label)
        self._calls[stream_id] = Open(call, engine, request.deadline)
        call.on_end = functools.partial(self._forget, stream_id)
        self._postprocessor.begin(
            stream_id, request.text, call, call.label, lambda: self._submissions.send(engine, submission)
        )

    def _forget(self, stream_id: StreamId) -> None:
        self._calls.pop(stream_id, None)

    def _add(self, chunk: Chunk) -> None:
        if chunk.refusal is None:
            self._postprocessor.add(chunk)
        elif found := self._calls.get(StreamId(chunk.stream)):
            self._postprocessor.forget(StreamId(chunk.stream))
            found.call.reject(chunk.refusal.error)

    def close(self) -> None:
        """Stop looking at the calls. Triton calls this when all have ended."""
        self._closed.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._closed.wait(WATCH_SECONDS):
            gone = self._submissions.gone()
            for stream_id, found in [*self._calls.items()]:
                try:
                    self._look_at(stream_id, found, gone)
                except Exception:
                    log.exception("stream %d: its client could not be checked", stream_id)

    def _look_at(self, stream_id: StreamId, found: Open, gone: list[int]) -> None:
        """Fail a call whose end cannot come any more; abort one whose client has disconnected, until it ends.

        An abort may overtake the request: so it is sent again.
        """
        if found.engine in gone:
            self._postprocessor.fail(stream_id, EngineError("the engine stage is gone"))
        elif time.monotonic() > found.deadline + LATE_SECONDS:
            self._postprocessor.fail(stream_id, EngineError("the engine stage sent no end"))
        elif found.call.is_disconnected:
            self._abort(stream_id)
