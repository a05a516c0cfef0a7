# SPDX-License-Identifier: Apache-2.0
"""One stream in the engine stage: from the engine's tokens to numbered chunks."""

from __future__ import annotations

import random
import threading
import time

from llm_ensemble.contract.request import Chunk, Part, Request, TextOptions
from llm_ensemble.contract.stream_id import StreamId
from llm_ensemble.engine_stage.pacing import QUIET_SECONDS, Pacing, SendChunk
from llm_ensemble.engines.protocol import Tokens

# Jitter of the send interval, so that streams that start together do not send in bursts.
JITTER = (0.9, 1.1)


class Stream:
    """Gathers tokens, numbers chunks and sends them. Thread-safe.

    min_seconds: for which tokens are gathered at least (pacing.min_seconds). is_over: no chunk follows.
    """

    def __init__(
        self, stream_id: StreamId, request: Request, send: SendChunk, pacing: Pacing, min_seconds: float
    ) -> None:
        self.id = stream_id
        self.deadline = request.deadline
        self.is_over = False
        self._wire_id = int(stream_id)
        self._text: TextOptions | None = request.text
        self._send = send
        self._pacing = pacing
        self._min_seconds = min_seconds
        self._running = set(range(request.text.num_sequences))
        self._gathered: dict[int, Gathered] = {}
        self._next_chunk = 0
        self._sent_at = time.monotonic()
        self._due_at = self._sent_at + min_seconds  # a streaming request's first token is sent immediately
        self._lock = threading.Lock()

    def add(self, tokens: Tokens) -> None:
        """Add what an engine step generated; send a chunk if it is time for one. No-op after the end."""
        with self._lock:
            if self.is_over:
                return
            if tokens.error or tokens.finish == "cancelled":
                self._finish(tokens.finish, str(tokens.error or ""))
                return
            self._gather(tokens)
            if tokens.finish:
                self._running.discard(tokens.index)
                self.is_over = not self._running
            if self.is_over or time.monotonic() >= self._due_at:
                self._flush()

    def end(self, finish: str) -> None:
        """End every sequence that still runs, for this reason; drop what the engine generates after that."""
        with self._lock:
            if not self.is_over:
                self._finish(finish)

    def send_due(self) -> None:
        """Send what is due; an empty chunk if none was sent for QUIET_SECONDS, which shows a disconnect."""
        with self._lock:
            now = time.monotonic()
            is_due = self._gathered and now >= self._due_at
            is_quiet = now - self._sent_at >= max(QUIET_SECONDS, self._min_seconds)
            if not self.is_over and (is_due or is_quiet):
                self._flush()

    def _gather(self, tokens: Tokens) -> None:
        gathered = self._gathered.get(tokens.index)
        if gathered is None:
            self._gathered[tokens.index] = gathered = Gathered()
        gathered.token_ids += tokens.token_ids
        if tokens.log_probs:
            gathered.log_probs += tokens.log_probs
        gathered.finish = tokens.finish

    def _finish(self, finish: str, error: str = "") -> None:
        for index in self._running if finish else ():
            self._gather(Tokens([], finish, index=index))
        self.is_over = True
        self._flush(error)

    def _flush(self, error: str = "") -> None:
        parts = [
            Part(index, gathered.token_ids, gathered.finish, gathered.log_probs)
            for index, gathered in self._gathered.items()
        ]
        chunk = Chunk(self._wire_id, self._next_chunk, parts, self.is_over, error, self._text)
        self._next_chunk += 1
        self._gathered, self._text = {}, None
        self._sent_at = self._pacing.send(chunk, self._send)
        if parts:
            interval = self._pacing.seconds * random.uniform(*JITTER)
            self._due_at = self._sent_at + max(self._min_seconds, interval)


class Gathered:
    """The tokens of one sequence since the last chunk."""

    __slots__ = ("finish", "log_probs", "token_ids")

    def __init__(self) -> None:
        self.token_ids: list[int] = []
        self.log_probs: list[float] = []
        self.finish = ""
