# SPDX-License-Identifier: Apache-2.0
"""One request's tokens on their way out of the engine step. Knows no engine's insides, no text, no Triton."""

from __future__ import annotations

import math
import random
import threading
import time

from llm_ensemble.engines.base import Tokens
from llm_ensemble.pacing import Pacing, SendChunk
from llm_ensemble.request import CHOSEN, Chunk, Part, Request, TextOptions

# A plain request wants one answer, but a chunk must travel now and then: it is what shows postprocessing
# a stop string...
GATHER_SECONDS = 0.1
# ... or a client that has left. While the engine has nothing for a request that waits or whose prompt is
# being read, an empty chunk goes for the same reason.
QUIET_SECONDS = 0.4
# Streams that began together must not send together for ever, a crowd for the steps behind and then nobody.
SPREAD = (0.9, 1.1)


class Stream:
    """One request's tokens on their way out: gathered if nobody watches, numbered, sent. For any thread."""

    def __init__(self, number: int, request: Request, send: SendChunk, pacing: Pacing) -> None:
        self.number = number
        self.deadline = request.deadline
        self.over = False
        self._text: TextOptions | None = request.text
        self._send = send
        self._pacing = pacing
        self._least = _least_seconds(number, request.text)
        self._running = set(range(request.text.num_sequences))
        self._gathered: dict[int, Gathered] = {}
        self._next_chunk = 0
        self._sent_at = time.monotonic()
        self._due_at = self._sent_at + self._least  # a stream's first token goes at once
        self._lock = threading.Lock()

    def add(self, tokens: Tokens) -> None:
        """Take what an engine step gave; send it if it is time."""
        with self._lock:
            if self.over:
                return
            if tokens.error or tokens.finish == "cancelled":
                self._finish(tokens.finish, str(tokens.error or ""))
                return
            self._gather(tokens)
            self.over = not self._running
            if self.over or time.monotonic() >= self._due_at:
                self._flush()

    def end(self, finish: str) -> None:
        """End every sequence that goes on; what the engine sends after that is dropped."""
        with self._lock:
            if not self.over:
                self._finish(finish)

    def show_life(self) -> None:
        """Send what is due, or, if nothing was sent for long, an empty chunk."""
        with self._lock:
            now = time.monotonic()
            due = self._gathered and now >= self._due_at
            quiet = now - self._sent_at >= max(QUIET_SECONDS, self._least)
            if not self.over and (due or quiet):
                self._flush()

    def _gather(self, tokens: Tokens) -> None:
        self._gathered.setdefault(tokens.index, Gathered()).add(tokens)
        if tokens.finish:
            self._running.discard(tokens.index)

    def _finish(self, finish: str, error: str = "") -> None:
        for index in self._running if finish else ():
            self._gathered.setdefault(index, Gathered()).add(Tokens([], finish))
        self.over = True
        self._flush(error)

    def _flush(self, error: str = "") -> None:
        parts = [gathered.part(index) for index, gathered in self._gathered.items()]
        chunk = Chunk(self.number, self._next_chunk, parts, self.over, error, self._text)
        self._next_chunk += 1
        self._gathered, self._text = {}, None
        self._sent_at = self._pacing.send(chunk, self._send)
        if parts:
            self._due_at = self._sent_at + max(self._least, self._pacing.seconds * random.uniform(*SPREAD))


def _least_seconds(number: int, text: TextOptions) -> float:
    """How long tokens gather at least when sending costs nothing."""
    if text.stream:
        return 0
    if text.stop_words:
        return GATHER_SECONDS
    # Whoever chose the number, ensemble_unary, looks after its client by itself.
    return QUIET_SECONDS if number < CHOSEN else math.inf


class Gathered:
    """One sequence's tokens since the last chunk."""

    def __init__(self) -> None:
        self._token_ids: list[int] = []
        self._log_probs: list[float] = []
        self._finish = ""

    def add(self, tokens: Tokens) -> None:
        """Take what an engine step gave."""
        self._token_ids += tokens.token_ids
        self._log_probs += tokens.log_probs
        self._finish = tokens.finish

    def part(self, index: int) -> Part:
        """What goes into the chunk."""
        return Part(index, self._token_ids, self._finish, self._log_probs)
