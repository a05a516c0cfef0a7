# SPDX-License-Identifier: Apache-2.0
"""Metrics of a stage, gathered and passed on to Triton's /metrics; docs/metrics.md has the table.

A call to Triton's metrics is a round trip to its process: 15 to 20 microseconds to increment, 50 to set or
to observe (seen on 2.51.0), more where the caller must wait for the GIL, which OpenVINO holds for a whole
step (up to 2.5 ms seen). So nothing calls it while it serves: values are gathered here and passed on once a
second by a thread of each stage. A histogram takes one value a call, so it is for what is measured once a
request or once a response, not once a token.
"""

from __future__ import annotations

import collections
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
MakeFamily = Callable[[str, str, str], Any]  # kind, name, description -> pb_utils.MetricFamily


class Series(Protocol):
    """One line, or one histogram, of /metrics."""

    def flush(self) -> None:
        """Pass on what came since the last flush."""


AnySeries = TypeVar("AnySeries", bound=Series)


class Counter:
    """A counter. Thread-safe."""

    def __init__(self, metric: Any) -> None:
        self._metric = metric
        self._pending: float = 0
        self._lock = threading.Lock()

    def add(self, amount: float = 1) -> None:
        """Increase the counter."""
        with self._lock:
            self._pending += amount

    def flush(self) -> None:
        """Pass on what came since the last flush."""
        with self._lock:
            amount, self._pending = self._pending, 0
        if amount:
            self._metric.increment(amount)


class Gauge:
    """A gauge; passed on when it has changed."""

    def __init__(self, metric: Any) -> None:
        self._metric = metric
        self._value = self._told = 0.0

    def set(self, value: float) -> None:
        """Set the value."""
        self._value = value

    def flush(self) -> None:
        """Pass the value on if it has changed."""
        if (value := self._value) != self._told:
            self._metric.set(value)
            self._told = value


class Histogram:
    """A histogram of Triton's. Thread-safe."""

    def __init__(self, metric: Any) -> None:
        self._metric = metric
        self._pending: collections.deque[float] = collections.deque()

    def observe(self, value: float) -> None:
        """Add a value."""
        self._pending.append(value)

    def flush(self) -> None:
        """Pass on what came; what comes meanwhile waits for the next flush."""
        for _ in range(len(self._pending)):
            self._metric.observe(self._pending.popleft())


class Metrics:
    """The metrics of one stage's process, and the thread that passes them on.

    Several processes may have a series of the same name and labels; Triton then adds them up.
    """

    def __init__(self, make_family: MakeFamily) -> None:
        self._make_family = make_family
        self._families: dict[str, Any] = {}  # a metric lives as long as its family does
        self._series: list[Series] = []
        self._jobs: list[Callable[[], None]] = []
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def counter(self, name: str, description: str, **labels: str) -> Counter:
        """Return a new counter for a set of labels; it is 0 from the start."""
        return self._keep(Counter(self._metric("COUNTER", name, description, labels)))

    def gauge(self, name: str, description: str, **labels: str) -> Gauge:
        """Return a new gauge, as counter does."""
        return self._keep(Gauge(self._metric("GAUGE", name, description, labels)))

    def histogram(self, name: str, description: str, bounds: Sequence[float], **labels: str) -> Histogram:
        """Return a new histogram, for one value a request or response. bounds: the buckets', without +Inf."""
        return self._keep(Histogram(self._metric("HISTOGRAM", name, description, labels, buckets=[*bounds])))

    def each_second(self, job: Callable[[], None]) -> None:
        """Call `job` before each flush."""
        self._jobs.append(job)

    def start(self) -> None:
        """Pass values on, now and once a second."""
        self.flush()
        self._thread.start()

    def close(self) -> None:
        """Pass on the last values; remove the metrics from Triton's.

        To be called in finalize: a family that is still there when the stub ends unregisters itself from what
        is gone by then, and the stub dies of it (SIGSEGV, seen in 2.51.0 at every stop).
        """
        self._closed.set()
        self._thread.join()
        self._families.clear()

    def flush(self) -> None:
        """Pass on what came since the last flush."""
        for job in self._jobs:
            job()
        for series in self._series:
            series.flush()

    def _run(self) -> None:
        over = False
        while not over:
            over = self._closed.wait(FLUSH_SECONDS)
            try:
                self.flush()
            except Exception:
                log.exception("metrics could not be handed over")

    def _metric(self, kind: str, name: str, description: str, labels: dict[str, str], **more: Any) -> Any:
        if name not in self._families:
            self._families[name] = self._make_family(kind, name, description)
        return self._families[name].Metric(labels=labels, **more)

    def _keep(self, series: AnySeries) -> AnySeries:
        self._series.append(series)
        return series


class Unseen:
    """A family whose metrics are not read, for a stage that runs without Triton."""

    def __init__(self, *_: str) -> None:
        pass

    def Metric(self, **_: Any) -> None:  # noqa: N802 - as pb_utils calls it
        """Return no metric: nothing is started, so nothing is passed on."""
