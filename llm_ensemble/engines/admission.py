# SPDX-License-Identifier: Apache-2.0
"""Who runs and who waits: for engines that must bound both themselves."""

from __future__ import annotations

import collections
import logging
from typing import Any

from llm_ensemble.engines.base import GenerationRequest, OnTokens, Tokens
from llm_ensemble.errors import Overloaded

log = logging.getLogger(__name__)


class Entry:
    """A request that is open, and its place. handle: what the engine's library calls it once it runs."""

    def __init__(self, request: GenerationRequest, on_tokens: OnTokens) -> None:
        self.request = request
        self.on_tokens = on_tokens
        self.handle: Any = None
        self.aborted = False
        self.width = request.sampling.width
        self.to_end = request.sampling.num_return_sequences  # sequences that have not ended

    def tell(self, tokens: Tokens) -> bool:
        """Hand tokens out; a receiver that fails is that request's misfortune, not the engine's.

        False if it failed: then the request counts as aborted.
        """
        try:
            self.on_tokens(tokens)
        except Exception:
            log.exception("request %s: its tokens could not be handed out", self.request.label)
            self.aborted = True
            return False
        return True


class Admission:
    """The open requests: some run, the rest wait, first come first served. Not for two threads at once.

    max_running, max_waiting: sequences, since a request of several takes as many places.
    """

    def __init__(self, max_running: int, max_waiting: int) -> None:
        self._max_running = max_running
        self._max_open = max_running + max_waiting
        self._open: dict[int, Entry] = {}
        self._queue: collections.deque[Entry] = collections.deque()
        self._width = 0
        self.waiting = 0

    @property
    def running(self) -> int:
        """Sequences that run."""
        return self._width - self.waiting

    @property
    def entries(self) -> list[Entry]:
        """Everybody, as of now."""
        return list(self._open.values())

    def find(self, number: int) -> Entry | None:
        """An open request, None if there is none of that number."""
        return self._open.get(number)

    def enter(self, entry: Entry) -> None:
        """Let a request wait for a place; raises Overloaded when no more may wait."""
        if self._width + entry.width > self._max_open:
            raise Overloaded(f"{self.running} running, {self.waiting} waiting")
        self._open[entry.request.number] = entry
        self._queue.append(entry)
        self._width += entry.width
        self.waiting += entry.width

    def next(self) -> Entry | None:
        """Who may run now; whoever needs more places than are free holds up those behind."""
        if not self._queue:
            return None
        if self.running and self.running + self._queue[0].width > self._max_running:
            return None
        entry = self._queue.popleft()
        self.waiting -= entry.width
        entry.request.let_in()
        return entry

    def leave(self, entry: Entry) -> None:
        """A request has ended; one that has left already is left alone."""
        if self._open.pop(entry.request.number, None) is None:
            return
        self._width -= entry.width
        if entry in self._queue:
            self._queue.remove(entry)
            self.waiting -= entry.width
