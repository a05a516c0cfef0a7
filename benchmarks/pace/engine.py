# SPDX-License-Identifier: Apache-2.0
"""An engine that computes nothing and delivers tokens at a fixed rate, to measure the rest of a server.

The tokens of a request are due at fixed times after it was scheduled: the first after PACE_TTFT_MS, each next
one PACE_INTERVAL_MS later, however late the one before was delivered. So a rate that cannot be kept shows as
several tokens at once, and is never reduced.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
import time

from benchmarks.pace.settings import PaceSettings
from llm_ensemble.engines.protocol import EngineStats, GenerationRequest, OnTokens, Tokens
from llm_ensemble.engines.scheduler import ActiveRequest, Scheduler
from llm_ensemble.errors import RequestError
from llm_ensemble.manifest import Manifest


class PaceEngine:
    """One clock thread that delivers tokens as they are due.

    The ids of a request are those of its prompt that are text, over and over.
    """

    def __init__(self, manifest: Manifest, max_waiting: int, pace: PaceSettings) -> None:
        self._max_running = manifest.limits.max_batch_size
        self._pace = pace
        # Special tokens are no text: postprocessing would send the first one only with its successor.
        self._no_text = {*manifest.defaults.end_ids, manifest.defaults.pad_id}
        self._scheduler = Scheduler(self._max_running, max_waiting, self._on_abort)
        self._started: queue.SimpleQueue[_Run] = queue.SimpleQueue()
        self._aborted: queue.SimpleQueue[ActiveRequest] = queue.SimpleQueue()
        self._wake = threading.Event()
        self._due: list[tuple[float, int, _Run]] = []  # a heap; the count decides between equal times
        self._counter = itertools.count()
        self._thread = threading.Thread(target=self._tick, name="pace-engine", daemon=True)
        self._thread.start()

    def submit(self, request: GenerationRequest, on_tokens: OnTokens) -> None:
        """Queue a request (see Engine.submit)."""
        _check_request(request)
        self._scheduler.add(request, on_tokens)
        self._start_scheduled()
        self._wake.set()

    def abort(self, stream_id: int) -> None:
        """End a request early (see Engine.abort)."""
        self._scheduler.abort(stream_id)

    @property
    def failed(self) -> bool:
        """Return False: there is nothing that could fail."""
        return False

    def stats(self) -> EngineStats:
        """Return the load; the part of slots that are taken stands for the KV cache."""
        running, waiting = self._scheduler.load
        return EngineStats(running, waiting, min(1.0, running / self._max_running))

    def close(self) -> None:
        """End every open request and stop the clock."""
        self._scheduler.close()
        self._wake.set()
        self._thread.join()

    def _on_abort(self, active: ActiveRequest) -> None:
        self._aborted.put(active)
        self._wake.set()

    def _start_scheduled(self) -> None:
        """Start the time of every request that gets slots, in any thread."""
        while active := self._scheduler.schedule():
            self._started.put(_Run(active, time.monotonic(), self._pace, self._no_text))

    def _tick(self) -> None:
        while not self._scheduler.closed:
            self._finish_aborted()
            self._deliver_due()
            self._wait()

    def _finish_aborted(self) -> None:
        while not self._aborted.empty():
            self._scheduler.finish(self._aborted.get())
        self._start_scheduled()

    def _deliver_due(self) -> None:
        self._push_started()
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            run = heapq.heappop(self._due)[2]
            if run.active.finished:  # it was aborted
                continue
            self._scheduler.deliver(run.active, [run.until(now)])
            if run.active.finished:
                self._start_scheduled()
            else:
                self._push(run)

    def _push_started(self) -> None:
        while not self._started.empty():
            self._push(self._started.get())

    def _push(self, run: _Run) -> None:
        heapq.heappush(self._due, (run.next_due, next(self._counter), run))

    def _wait(self) -> None:
        """Block until the next token is due, or a request was added or aborted, or the engine closed."""
        self._push_started()
        self._wake.wait(max(0, self._due[0][0] - time.monotonic()) if self._due else None)
        self._wake.clear()


class _Run:
    """A running request and its progress."""

    def __init__(
        self, active: ActiveRequest, started: float, pace: PaceSettings, no_text: set[int | None]
    ) -> None:
        self.active = active
        self._first = started + pace.pace_ttft_ms / 1000
        self._interval = pace.pace_interval_ms / 1000
        self._delivered = 0
        ids = active.request.input_ids
        self._ids = [one for one in ids if one not in no_text.union(active.request.sampling.end_ids)] or ids
        self._max_tokens = active.request.sampling.max_tokens

    @property
    def next_due(self) -> float:
        """Time of the next token, on the clock of time.monotonic()."""
        return self._first + self._delivered * self._interval

    def until(self, now: float) -> Tokens:
        """Return the tokens that are due and not delivered yet: at least one, since next_due is over."""
        due = min(self._max_tokens, max(self._delivered + 1, int((now - self._first) / self._interval) + 1))
        ids = [self._ids[k % len(self._ids)] for k in range(self._delivered, due)]
        self._delivered = due
        return Tokens(ids, "length" if due == self._max_tokens else "")


def _check_request(request: GenerationRequest) -> None:
    """Raise RequestError for a field that this engine does not support; it ignores the sampling fields."""
    sampling = request.sampling
    if sampling.width > 1:
        name = "beam_width" if sampling.beam_width > 1 else "num_return_sequences"
        raise RequestError(name, "the pace engine gives one sequence; leave it out")
    if sampling.log_probs:
        raise RequestError("return_log_probs", "the pace engine computes nothing; leave it out")
