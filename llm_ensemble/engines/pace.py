# SPDX-License-Identifier: Apache-2.0
"""An engine that computes nothing: tokens at a set pace, to measure all that lies around an engine.

Each request's tokens are due at fixed times after it was let in: the first after PACE_TTFT_MS, each next one
PACE_INTERVAL_MS later, however late the one before was handed out. So a pace that cannot be kept shows as
several tokens at once, and never slows down by itself.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time

from llm_ensemble.engines.admission import Admission, Entry
from llm_ensemble.engines.base import EngineStats, GenerationRequest, OnTokens, Tokens
from llm_ensemble.errors import EngineError, RequestError
from llm_ensemble.manifest import Manifest
from llm_ensemble.settings import PaceSettings


class PaceEngine:
    """One clock thread; a request's ids are those of its prompt that are text, over and over."""

    def __init__(self, manifest: Manifest, max_waiting: int, pace: PaceSettings) -> None:
        self._max_running = manifest.limits.max_batch_size
        self._admission = Admission(self._max_running, max_waiting)
        self._pace = pace
        # A special token is no text: postprocessing would send the first one only with its successor.
        self._no_text = {*manifest.defaults.end_ids, manifest.defaults.pad_id}
        self._due: list[tuple[float, int, _Run]] = []  # a heap; the number decides between equal times
        self._turns = itertools.count()
        self._leavers: list[Entry] = []
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._tick, name="pace-engine", daemon=True)
        self._thread.start()

    def submit(self, request: GenerationRequest, on_tokens: OnTokens) -> None:
        """Queue a request (see Engine.submit)."""
        _refuse_what_it_cannot(request)
        with self._changed:
            if self._closed:
                raise EngineError("the engine is closed")
            self._admission.enter(Entry(request, on_tokens))
            self._let_newcomers_in()
            self._changed.notify()

    def abort(self, number: int) -> None:
        """End a request early (see Engine.abort)."""
        with self._changed:
            if entry := self._admission.find(number):
                entry.aborted = True
                self._leavers.append(entry)
                self._changed.notify()

    @property
    def failed(self) -> bool:
        """Never: there is nothing that could fail."""
        return False

    def stats(self) -> EngineStats:
        """Read the load; places taken stand for the KV cache."""
        running = self._admission.running
        return EngineStats(running, self._admission.waiting, min(1.0, running / self._max_running))

    def close(self) -> None:
        """End every open request and stop the clock."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _tick(self) -> None:
        while self._wait():
            for entry, tokens in self._take_due():
                self._tell(entry, tokens)
        with self._changed:
            open_entries = self._admission.entries
            for entry in open_entries:
                self._admission.leave(entry)
        for entry in open_entries:
            self._tell(entry, Tokens([], "cancelled"))

    def _wait(self) -> bool:
        """Until somebody's token is due or somebody leaves; False once the engine is closed."""
        with self._changed:
            while not self._closed and not self._leavers:
                seconds = self._due[0][0] - time.monotonic() if self._due else None
                if seconds is not None and seconds <= 0:
                    break
                self._changed.wait(seconds)
            return not self._closed

    def _take_due(self) -> list[tuple[Entry, Tokens]]:
        """What is to be handed out now, with whoever has ended already gone."""
        with self._changed:
            taken = []
            for entry in self._leavers:
                if self._admission.find(entry.request.number) is entry:
                    self._admission.leave(entry)
                    taken.append((entry, Tokens([], "cancelled")))
            self._leavers = []
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                run = heapq.heappop(self._due)[2]
                if self._admission.find(run.entry.request.number) is run.entry:  # else it was aborted
                    tokens = run.until(now)
                    taken.append((run.entry, tokens))
                    self._go_on(run, over=bool(tokens.finish))
            self._let_newcomers_in()
            return taken

    def _go_on(self, run: _Run, over: bool) -> None:
        if over:
            self._admission.leave(run.entry)
        else:
            heapq.heappush(self._due, (run.next_due, next(self._turns), run))

    def _let_newcomers_in(self) -> None:
        while entry := self._admission.next():
            entry.handle = run = _Run(entry, time.monotonic(), self._pace, self._no_text)
            heapq.heappush(self._due, (run.next_due, next(self._turns), run))

    def _tell(self, entry: Entry, tokens: Tokens) -> None:
        if not entry.tell(tokens):
            self.abort(entry.request.number)


class _Run:
    """A request that runs, and how far it is."""

    def __init__(self, entry: Entry, started: float, pace: PaceSettings, no_text: set[int | None]) -> None:
        self.entry = entry
        self._first = started + pace.pace_ttft_ms / 1000
        self._interval = pace.pace_interval_ms / 1000
        self._given = 0
        ids = entry.request.input_ids
        self._ids = [one for one in ids if one not in no_text.union(entry.request.sampling.end_ids)] or ids
        self._max_tokens = entry.request.sampling.max_tokens

    @property
    def next_due(self) -> float:
        """When the next token is due."""
        return self._first + self._given * self._interval

    def until(self, now: float) -> Tokens:
        """Every token due by now that was not given yet; at least one, since next_due is over."""
        due = min(self._max_tokens, max(self._given + 1, int((now - self._first) / self._interval) + 1))
        ids = [self._ids[k % len(self._ids)] for k in range(self._given, due)]
        self._given = due
        return Tokens(ids, "length" if due == self._max_tokens else "")


def _refuse_what_it_cannot(request: GenerationRequest) -> None:
    """Raises RequestError naming the field; how tokens are chosen is without effect here."""
    sampling = request.sampling
    if sampling.width > 1:
        name = "beam_width" if sampling.beam_width > 1 else "num_return_sequences"
        raise RequestError(name, "the pace engine gives one sequence; leave it out")
    if sampling.log_probs:
        raise RequestError("return_log_probs", "the pace engine computes nothing; leave it out")
