# SPDX-License-Identifier: Apache-2.0
"""The engine stage: a request becomes a stream of chunks, and every stream ends."""

from __future__ import annotations

import functools
import logging
import math
import threading
import time
from collections.abc import Callable

from llm_ensemble.contract.request import Chunk, Refusal, Request, Submission
from llm_ensemble.contract.stream_id import StreamId
from llm_ensemble.engine_stage.outlet import Outlet
from llm_ensemble.engine_stage.pacing import Pacing, min_seconds
from llm_ensemble.engine_stage.stream import SendChunk, Stream
from llm_ensemble.engines.protocol import Engine, GenerationRequest, Tokens
from llm_ensemble.errors import EngineError, Overloaded, RequestError
from llm_ensemble.telemetry.engine_metrics import EngineReport
from llm_ensemble.telemetry.metrics import Metrics, Unseen

log = logging.getLogger(__name__)

TICK_SECONDS = 0.05  # between two looks at the streams
CLOSE_SECONDS = 10
DRAIN_SECONDS = 30  # as long as tritonserver itself waits for its requests
EARLY_SECONDS = 0.005  # the last chunk is sent this much before the deadline, by which it must have arrived


class EngineStage:
    """Gives a request a stream id, sends the engine's tokens in chunks, ends the stream by its deadline.

    instance: of the engine stage; stream ids of two instances differ. give_up: called once when the engine
    has died and every stream has ended. report: the metrics.
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
        self._instance = instance
        self._ids = StreamId.of_instance(instance)
        self._streams: dict[int, Stream] = {}
        self._owners: set[SendChunk] = set()  # where chunks go: the instances of postprocessing
        self._pacing = Pacing(self._streams.__len__, self._owners.__len__)
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch, name="stream-clock", daemon=True),
            threading.Thread(target=self._pulse, name="stream-pulses", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def generate(self, input_ids: list[int], request: Request, outlet: Outlet, *, label: str = "") -> None:
        """Start a stream, whose pulses and end go to `outlet`; its chunks go where it is claimed from.

        label: the request id of the client, for the log. Raises RequestError, Overloaded or EngineError,
        before any pulse, if the engine rejects the request.
        """
        stream = Stream(next(self._ids), request, outlet, self._pacing, self._instance)
        self._start(stream, input_ids, request, label)

    def submit(self, submission: Submission, send: SendChunk) -> None:
        """Start a stream of ensemble_unary, whose chunks `send` takes.

        If it cannot start, a last chunk says why. Raises EngineError if that cannot be sent.
        """
        request, refused = submission.request, functools.partial(Chunk, submission.stream, [], last=True)
        try:
            stream_id = StreamId(submission.stream)
            if stream_id in self._streams:
                raise EngineError(f"stream {stream_id} began before")
            stream = Stream(stream_id, request, None, self._pacing, self._instance)
            stream.claim(send)
            self._start(stream, submission.input_ids, request, submission.label)
        except (RequestError, Overloaded) as error:
            send(refused(refusal=Refusal.of(error)))
        except Exception as error:
            if not isinstance(error, EngineError):
                log.exception("stream %d could not be started", submission.stream)
            send(refused(error=str(error) or type(error).__name__))

    def _start(self, stream: Stream, input_ids: list[int], request: Request, label: str) -> None:
        self._streams[stream.id] = stream
        on_scheduled = self._report.on_arrival(len(input_ids))
        generation = GenerationRequest(
            stream.id,
            input_ids,
            request.sampling,
            label or f"#{stream.id}",
            on_scheduled,
            may_wait=math.isinf(min_seconds(request.text)),
        )
        try:
            self._engine.submit(generation, functools.partial(self._on_tokens, stream))
            stream.open()
        except BaseException:
            self._streams.pop(stream.id, None)
            self._engine.abort(stream.id)
            raise

    def claim(self, stream_id: int, send: SendChunk) -> None:
        """Send a stream's chunks where postprocessing wants them; a last one if it is gone or claimed."""
        self._owners.add(send)
        stream = self._streams.get(stream_id)
        if stream is None or stream.is_claimed:
            send(Chunk(stream_id, [], last=True, error="the stream is gone, or was claimed before"))
            return
        stream.claim(send)
        self._forget(stream)

    def abort(self, stream_id: StreamId) -> None:
        """End a stream early. No-op if there is none of this id."""
        if stream := self._streams.get(stream_id):
            self._end(stream, "cancelled")

    @property
    def open(self) -> int:
        """The number of streams that have not ended."""
        return len(self._streams)

    def close(self) -> None:
        """End every stream and close the engine; before that let those of ensemble_unary end.

        All others have a request at Triton, which calls this when they have ended.
        """
        latest = time.monotonic() + DRAIN_SECONDS
        while self._has_unary and not self._engine.failed and time.monotonic() < latest:
            time.sleep(TICK_SECONDS)
        self._engine.close()
        self._closed.set()
        for thread in self._threads:
            thread.join()

    @property
    def _has_unary(self) -> bool:
        return any(stream.id.is_unary for stream in [*self._streams.values()])

    def _on_tokens(self, stream: Stream, tokens: Tokens) -> None:
        self._report.on_tokens(len(tokens.token_ids))
        stream.add(tokens)
        self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        if stream.is_closed:
            self._streams.pop(stream.id, None)

    def _end(self, stream: Stream, finish: str) -> None:
        """Send the last chunk, then abort in the engine: one that hangs must not keep the client waiting."""
        try:
            stream.end(finish)
        finally:
            self._forget(stream)
            self._engine.abort(stream.id)

    def _watch(self) -> None:
        wait = TICK_SECONDS
        while not self._closed.wait(wait):
            for stream in [*self._streams.values()]:
                try:
                    self._look_at(stream)
                except Exception:
                    log.exception("stream %d: no chunk could be sent", stream.id)
            if self._engine.failed and not self._streams:
                self._leave_engine()
                return
            open_streams = [stream for stream in [*self._streams.values()] if not stream.is_over]
            nearest = min((stream.deadline for stream in open_streams), default=math.inf)
            wait = max(0, min(TICK_SECONDS, nearest - EARLY_SECONDS - time.monotonic()))

    def _pulse(self) -> None:
        while not self._closed.wait(TICK_SECONDS):
            for stream in [*self._streams.values()]:
                try:
                    stream.pulse_if_due()
                except Exception:
                    log.exception("stream %d: no pulse could be sent", stream.id)

    def _leave_engine(self) -> None:
        """Close the failed engine, which may hold GPUs and processes, for CLOSE_SECONDS at most; give up."""
        closing = threading.Thread(target=self._engine.close, name="engine-close", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)
        self._give_up()

    def _look_at(self, stream: Stream) -> None:
        if not stream.is_over and time.monotonic() >= stream.deadline - EARLY_SECONDS:
            self._end(stream, "timeout")
        else:
            stream.send_due()
            self._forget(stream)
