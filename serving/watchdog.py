# SPDX-License-Identifier: Apache-2.0
"""The watchdog: finds out whether a stage of a ready server has died or hangs.

tritonserver 2.51.0 says that it is ready in either case; 26.07 notices stubs that died, but not those that
hang. A stub that died is noticed within half a second. A stage that hangs is found by its counters, and where
these stand still, by a request for one token through them.
"""

from __future__ import annotations

import concurrent.futures
import sys
import threading
import time
from collections.abc import Callable, Sequence

from serving.health import (
    ENGINE_STAGE,
    STAGES,
    WAYS,
    Counters,
    Outcome,
    ProbeResult,
    find_stubs,
    liveness_probe,
    read_counters,
)
from serving.tritonserver import Server

CHECK_SECONDS = 5  # between two checks, and after which a stage that made no progress is probed
RETRY_SECONDS = 1  # after a probe that failed, which may concern that request alone
PROBE_PAUSE_FACTOR = 50  # an idle server spends at most one part in 50 of its time on probes


class Watchdog:
    """Watches a ready server from a thread of its own, while the context is open."""

    def __init__(self, server: Server, hang_seconds: float) -> None:
        self._stubs = find_stubs(server.process.pid)
        self._progress = Progress(hang_seconds)
        self._ports, self._hang_seconds = server.ports, hang_seconds
        self._verdict = ""
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def verdict(self) -> str:
        """Return what has died or hangs, as a sentence; "" while the server is healthy. Does not block."""
        dead = [stub for stub in self._stubs if not stub.is_alive]
        if dead:
            return f"{dead[0].stage} has died (its process was {dead[0].pid})"
        return self._verdict

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        interval = min(CHECK_SECONDS, self._hang_seconds / 4)
        pause = interval
        while not self._stopped.wait(pause) and not self._verdict:
            self._progress.update(read_counters(self._ports))
            self._verdict = self._progress.verdict()
            pause = interval
            ways = self._progress.stalled_ways(interval)
            if ways and not self._verdict:
                pause = self._probe(ways, interval)

    def _probe(self, ways: Sequence[str], interval: float) -> float:
        """Probe ways through the server, at once; return the seconds until the next check."""
        started = time.monotonic()
        # The probe's deadline is before its timeout: stages that do not hang respond by then.
        deadline, timeout = self._hang_seconds / 4, self._hang_seconds / 3
        with concurrent.futures.ThreadPoolExecutor(len(WAYS)) as threads:
            results = list(threads.map(lambda way: liveness_probe(self._ports, way, deadline, timeout), ways))
        for way, result in zip(ways, results):
            self._progress.record(way, result)
        if any(result.outcome is not Outcome.SERVED for result in results):
            return RETRY_SECONDS
        cost = time.monotonic() - started
        return max(interval, min(cost * PROBE_PAUSE_FACTOR, self._hang_seconds / 2))


class Progress:
    """For how long each stage has made no progress. clock: seconds, monotonic.

    hang_seconds: how long a stage may make none, although it was probed, before it counts as hanging.
    """

    def __init__(self, hang_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._hang_seconds, self._clock = hang_seconds, clock
        self._counters: Counters = {stage: {} for stage in STAGES}
        self._stalled = dict.fromkeys(STAGES, 0.0)  # seconds since each was seen to work
        self._updated_at = clock()
        self._error = ""  # message of the last probe, if that failed
        self._warned = False

    def update(self, counters: Counters) -> None:
        """Take the counters of now: a stage has made progress if one of its values has changed."""
        now = self._clock()
        # After a suspend of the machine, or when this thread was not scheduled, the time says nothing about
        # the server.
        passed = min(now - self._updated_at, self._hang_seconds / 2 + CHECK_SECONDS)
        self._updated_at = now
        for stage in STAGES:
            before, seen = self._counters[stage], counters.get(stage, {})
            changed = any(value != before.get(name, value) for name, value in seen.items())
            self._stalled[stage] = 0.0 if changed else self._stalled[stage] + passed
            before.update(seen)

    def stalled_ways(self, seconds: float) -> list[str]:
        """Return the ways on which a stage has made no progress for this long."""
        return [
            way for way, stages in WAYS.items() if max(self._stalled[stage] for stage in stages) >= seconds
        ]

    def record(self, way: str, result: ProbeResult) -> None:
        """Take the result of a probe through the stages of a way.

        An error proves nothing, not even that of a stage that is "not healthy": Triton says so of any whose
        stub was not scheduled for a second.
        """
        self._error = result.message if result.outcome is Outcome.FAILED else ""
        if result.outcome in (Outcome.FAILED, Outcome.NO_RESPONSE):
            return
        engine = 0.0 if result.outcome is Outcome.SERVED else self._stalled[ENGINE_STAGE]
        self._stalled |= {**dict.fromkeys(WAYS[way], 0.0), ENGINE_STAGE: engine}
        if result.outcome is Outcome.SERVED and result.message and not self._warned:
            self._warned = True
            sys.stderr.write(
                f"serve: the watchdog cannot find stages that hang: its probe is refused: {result.message}\n"
            )

    def verdict(self) -> str:
        """Return which stages hang, as a sentence; "" if none does."""
        hanging = [stage for stage in STAGES if self._stalled[stage] >= self._hang_seconds]
        if not hanging:
            return ""
        done = "generated no token" if hanging == [ENGINE_STAGE] else "made no progress"
        error = f" ({self._error})" if self._error else ""
        seconds = self._stalled[hanging[-1]]
        return f"{', '.join(hanging)} {done} for {seconds:.0f} s, although probed{error}"
