# SPDX-License-Identifier: Apache-2.0
"""One stream in the engine stage: from the engine's tokens to chunks."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable

from llm_ensemble.contract.request import Chunk, Part, Pulse, Refusal, Request, TextOptions
from llm_ensemble.contract.stream_id import StreamId
from llm_ensemble.engine_stage.outlet import Outlet
from llm_ensemble.engine_stage.pacing import QUIET_SECONDS, Pacing, min_seconds
from llm_ensemble.engines.protocol import Tokens
from llm_ensemble.errors import INTERNAL_ERROR, RequestError

log = logging.getLogger(__name__)
SendChunk = Callable[[Chunk], None]

# Jitter of the send interval, so that streams that start together do not send in bursts.
JITTER = (0.9, 1.1)
# Between two pulses of a stream. Each shows a client disconnect, and costs as much as a response.
PULSE_SECONDS = 0.75
# A stream that has ended waits so long for postprocessing to claim it; far longer than any queue of pulses.
CLAIM_SECONDS = 30
# An error is sent so long after a pulse: Triton 2.51.0 keeps an ensemble's request for good whose step fails
# while another has not ended (docs/upstream.md), and postprocessing needs a moment to end a pulse.
AFTER_PULSE_SECONDS = 0.1


class Stream:
    """Gathers tokens and sends them in chunks to the instance of postprocessing that claims the stream.

    Thread-safe. outlet: None for a stream of ensemble_unary, which has no request of Triton's here. engine:
    this instance of the engine stage. is_over: the engine's tokens are complete. is_closed: the last chunk is
    sent, and Triton's request ended.
    """

    def __init__(
        self, stream_id: StreamId, request: Request, outlet: Outlet | None, pacing: Pacing, engine: int = 0
    ) -> None:
        self.id = stream_id
        self.deadline = request.deadline
        self.is_over = False
        self.is_closed = False
        self._wire_id, self._engine = int(stream_id), engine
        self._text = request.text
        self._outlet = outlet
        self._pacing = pacing
        self._send: SendChunk | None = None  # until the stream is claimed, tokens are gathered
        self._min_seconds = min_seconds(request.text)
        self._is_ended = False  # its request at Triton
        self._running = set(range(request.text.num_sequences))
        self._gathered: dict[int, Gathered] = {}
        self._error = ""
        self._refusal: Refusal | None = None
        self._sent_at = self._over_at = time.monotonic()
        self._due_at = self._sent_at + self._min_seconds  # a streaming request's first is sent immediately
        self._pulse_at = math.inf
        self._pulsed_at = -math.inf  # the last pulse but the first, which the last chunk itself ends
        self._lock = threading.Lock()
        self._outlet_lock = threading.Lock()  # a pulse takes long; tokens do not wait for it

    def open(self) -> None:
        """Send the first pulse; raises what Triton raises. To be called once.

        A stream without an outlet has none: ensemble_unary has claimed it, and looks for its client.
        """
        if self._outlet:  # streams that begin together must not pulse together
            self._pulse(self._outlet, self._text)
            self._pulse_at = time.monotonic() + PULSE_SECONDS * random.uniform(0.5, 1)

    @property
    def is_claimed(self) -> bool:
        """Whether postprocessing has claimed it, which happens once."""
        return self._send is not None

    def claim(self, send: SendChunk) -> None:
        """Send chunks from now on, and first what was gathered, if it is time for it."""
        with self._lock:
            self._send = send
            if self.is_over:
                self._flush_last()
            elif self._gathered and time.monotonic() >= self._due_at:
                self._flush()

    def add(self, tokens: Tokens) -> None:
        """Add what an engine step generated; send a chunk if it is time for one. No-op after the end."""
        with self._lock:
            if self.is_over:
                return
            if tokens.error or tokens.finish == "cancelled":
                if isinstance(tokens.error, RequestError):
                    self._refusal = Refusal.of(tokens.error)
                self._finish(tokens.finish, str(tokens.error or ""))
                return
            self._gather(tokens)
            if tokens.finish:
                self._running.discard(tokens.index)
            if not self._running:
                self._finish("")
            elif self._send and time.monotonic() >= self._due_at:
                self._flush()

    def end(self, finish: str) -> None:
        """End every sequence that still runs, for this reason; drop what the engine generates after that."""
        with self._lock:
            if not self.is_over:
                self._finish(finish)

    def send_due(self) -> None:
        """Send what is due; an empty chunk if none was sent for QUIET_SECONDS, by which clients see life."""
        with self._lock:
            now = time.monotonic()
            if self._send and not self.is_over:
                is_quiet = now - self._sent_at >= max(QUIET_SECONDS, self._min_seconds)
                if is_quiet or (self._gathered and now >= self._due_at):
                    self._flush()
            elif self._send and not self.is_closed:
                self._flush_last()
            elif self.is_over and not self.is_closed and now - self._over_at >= CLAIM_SECONDS:
                log.error("stream %d: postprocessing did not claim it", self.id)
                self._close(INTERNAL_ERROR)

    def pulse_if_due(self) -> None:
        """Send a pulse if it is time for one."""
        if self._outlet and time.monotonic() >= self._pulse_at:
            self._pulsed_at = time.monotonic()
            self._pulse_at = self._pulsed_at + PULSE_SECONDS
            self._pulse(self._outlet, None)

    def _pulse(self, outlet: Outlet, text: TextOptions | None) -> None:
        pulse = Pulse(self._wire_id, self._engine, text)
        with self._outlet_lock:
            if not self._is_ended:
                self._pacing.measure(lambda: outlet.pulse(pulse))

    def _gather(self, tokens: Tokens) -> None:
        gathered = self._gathered.get(tokens.index)
        if gathered is None:
            self._gathered[tokens.index] = gathered = Gathered()
        gathered.token_ids += tokens.token_ids
        if tokens.log_probs:
            gathered.log_probs += tokens.log_probs
            gathered.top_ids += tokens.top_ids
            gathered.top_log_probs += tokens.top_log_probs
        gathered.finish = tokens.finish

    def _finish(self, finish: str, error: str = "") -> None:
        for index in self._running if finish else ():
            self._gather(Tokens([], finish, index=index))
        self.is_over, self._error, self._over_at = True, error, time.monotonic()
        if self._send:
            self._flush_last()

    def _flush_last(self) -> None:
        """Send the last chunk; one that makes postprocessing fail only when no other step is left (above)."""
        if self._error or self._refusal:
            if time.monotonic() - self._pulsed_at < AFTER_PULSE_SECONDS:
                return  # to send_due
            self._end_request()
        self._flush()

    def _flush(self) -> None:
        assert self._send
        parts = [
            Part(index, one.token_ids, one.finish, one.log_probs, one.top_ids, one.top_log_probs)
            for index, one in self._gathered.items()
        ]
        self._gathered = {}
        try:
            self._send(Chunk(self._wire_id, parts, self.is_over, self._error, self._refusal))
        except Exception:  # tokens are lost: no later chunk may hide it
            log.exception("stream %d: a chunk could not be sent", self.id)
            self.is_over = True
            self._close(INTERNAL_ERROR)
            return
        self._sent_at = time.monotonic()
        if self.is_over:
            self._close()
        elif parts:
            interval = self._pacing.seconds * random.uniform(*JITTER)
            self._due_at = self._sent_at + max(self._min_seconds, interval)

    def _close(self, error: str = "") -> None:
        self.is_closed = True
        self._end_request(error)

    def _end_request(self, error: str = "") -> None:
        with self._outlet_lock:
            if self._is_ended:
                return
            self._is_ended = True
            if self._outlet:
                self._outlet.end(error)


class Gathered:
    """The tokens of one sequence since the last chunk."""

    __slots__ = ("finish", "log_probs", "token_ids", "top_ids", "top_log_probs")

    def __init__(self) -> None:
        self.token_ids: list[int] = []
        self.log_probs: list[float] = []
        self.top_ids: list[int] = []
        self.top_log_probs: list[float] = []
        self.finish = ""
