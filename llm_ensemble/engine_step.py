# SPDX-License-Identifier: Apache-2.0
"""The engine step: requests in, numbered streams of chunks out, each with an end. Knows no Triton."""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections.abc import Callable

from llm_ensemble.engine_report import EngineReport
from llm_ensemble.engines.base import Engine, GenerationRequest, Tokens
from llm_ensemble.metrics import Metrics, Unseen
from llm_ensemble.pacing import Pacing, SendChunk
from llm_ensemble.request import PER_INSTANCE, Request
from llm_ensemble.stream import Stream

log = logging.getLogger(__name__)

TICK_SECONDS = 0.05  # how often quiet streams are looked after
CLOSE_SECONDS = 10
EARLY_SECONDS = 0.005  # a request ends by its deadline, so it is told this much earlier


class EngineStep:
    """Gives each request a number of its own, its sender the engine's tokens, and an end by its deadline.

    instance: which of several that serve the same streams this is; their numbers differ. give_up: called
    once when the engine has died and every stream has had its end. report: what measures it.
    """

    def __init__(
        self,
        engine: Engine,
        instance: int = 0,
        give_up: Callable[[], None] = lambda: None,
        report: EngineReport | None = None,
    ) -> None:
        self._engine = engine
        self._give_up = give_up
        self._report = report or EngineReport(Metrics(Unseen), instance)
        self._numbers = itertools.count(instance * PER_INSTANCE + 1)
        self._streams: dict[int, Stream] = {}
        self._pacing = Pacing(self._streams.__len__)
        self._closed = threading.Event()
        self._clock = threading.Thread(target=self._watch, name="stream-clock", daemon=True)
        self._clock.start()

    def generate(
        self, input_ids: list[int], request: Request, send: SendChunk, *, number: int = 0, label: str = ""
    ) -> None:
        """Start one request; send is called with its chunks, the last of them marked.

        number: the stream's, for whoever must know it beforehand to abort it; 0 to get the next, as does one
        that is taken: any client can choose it (by its sequence_id).
        label: the client's name for the request, for the log.
        Raises RequestError, Overloaded or EngineError, without any chunk, when the engine does not take it.
        """
        if not number or number in self._streams:
            number = next(self._numbers)
        stream = self._streams[number] = Stream(number, request, send, self._pacing)
        let_in = self._report.arrived(len(input_ids))
        asked = GenerationRequest(number, input_ids, request.sampling, label or f"#{number}", let_in)
        try:
            self._engine.submit(asked, lambda tokens: self._add(stream, tokens))
        except BaseException:
            del self._streams[number]
            raise

    def abort(self, number: int) -> None:
        """End a stream early; an unknown one is left alone."""
        if stream := self._streams.get(number):
            self._end(stream, "cancelled")

    @property
    def open(self) -> int:
        """Streams that have not ended."""
        return len(self._streams)

    def close(self) -> None:
        """End every open stream and free the engine."""
        self._engine.close()
        self._closed.set()
        self._clock.join()

    def _add(self, stream: Stream, tokens: Tokens) -> None:
        self._report.made(len(tokens.token_ids))
        stream.add(tokens)
        if stream.over:
            self._streams.pop(stream.number, None)

    def _end(self, stream: Stream, finish: str) -> None:
        """The client is told first: an engine that hangs must not keep it waiting."""
        try:
            stream.end(finish)
        finally:
            self._streams.pop(stream.number, None)
            self._engine.abort(stream.number)

    def _watch(self) -> None:
        wait = TICK_SECONDS
        while not self._closed.wait(wait):
            for stream in [*self._streams.values()]:
                try:
                    self._look_at(stream)
                except Exception:
                    log.exception("stream %d: nothing could be sent", stream.number)
            if self._engine.failed and not self._streams:
                self._leave_engine()
                return
            nearest = min((stream.deadline for stream in [*self._streams.values()]), default=math.inf)
            wait = max(0, min(TICK_SECONDS, nearest - EARLY_SECONDS - time.monotonic()))

    def _leave_engine(self) -> None:
        """What a dead engine still holds (GPUs, processes of its own) it may let go of, but not take long."""
        closing = threading.Thread(target=self._engine.close, name="engine-close", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)
        self._give_up()

    def _look_at(self, stream: Stream) -> None:
        if time.monotonic() >= stream.deadline - EARLY_SECONDS:
            self._end(stream, "timeout")
        else:
            stream.show_life()
