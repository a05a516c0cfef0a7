# SPDX-License-Identifier: Apache-2.0
"""What the steps measure, on its way to Triton's /metrics. Knows no pb_utils; docs/metrics.md has the table.

A call to Triton's metrics is a round trip to its process: 15 to 20 microseconds to increment, 50 to set or to
observe (seen on 2.51.0). So nothing calls it while it serves: values are gathered here and handed over once a
second by a thread of each step. That thread must wait for the GIL at each call, which an engine may hold for
a whole step, so what it has to say there must not grow with the load. Hence two kinds of histogram. Histogram
is Triton's own, a call a value, for what postprocessing measures once a request. SpreadHistogram is laid out
of counters with a histogram's names, at most a call a bucket, for what comes with every token and for what
the engine step measures.
"""

from __future__ import annotations

import collections
import itertools
import logging
import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
MakeFamily = Callable[[str, str, str], Any]  # kind, name, description -> pb_utils.MetricFamily


class Series(Protocol):
    """One line, or one histogram, of /metrics."""

    def flush(self) -> None:
        """Hand over what came since the last time."""


AnySeries = TypeVar("AnySeries", bound=Series)


class Counter:
    """Counts up. For any thread."""

    def __init__(self, metric: Any) -> None:
        self._metric = metric
        self._pending: float = 0
        self._lock = threading.Lock()

    def add(self, amount: float = 1) -> None:
        """Count."""
        with self._lock:
            self._pending += amount

    def flush(self) -> None:
        """Hand over what came since the last time."""
        with self._lock:
            amount, self._pending = self._pending, 0
        if amount:
            self._metric.increment(amount)


class Gauge:
    """A value of the moment; handed over when it has changed."""

    def __init__(self, metric: Any) -> None:
        self._metric = metric
        self._value = self._told = 0.0

    def set(self, value: float) -> None:
        """Take the value of now."""
        self._value = value

    def flush(self) -> None:
        """Hand it over if it is another than the last."""
        if (value := self._value) != self._told:
            self._metric.set(value)
            self._told = value


class Histogram:
    """Triton's own. For any thread."""

    def __init__(self, metric: Any) -> None:
        self._metric = metric
        self._pending: collections.deque[float] = collections.deque()

    def observe(self, value: float) -> None:
        """Take a value."""
        self._pending.append(value)

    def flush(self) -> None:
        """Hand over what came; what comes meanwhile waits for the next time."""
        for _ in range(len(self._pending)):
            self._metric.observe(self._pending.popleft())


class SpreadHistogram:
    """A histogram laid out of counters. For any thread.

    bounds: upper ones, ascending. buckets: a counter for each bound and one for +Inf.
    """

    def __init__(self, bounds: Sequence[float], buckets: Sequence[Any], total: Any, count: Any) -> None:
        self._bounds = bounds
        self._buckets = buckets
        self._total, self._count = total, count
        self._pending = [0] * len(buckets)
        self._sum = 0.0
        self._lock = threading.Lock()

    def observe(self, value: float, times: int = 1) -> None:
        """Take a value that was seen so many times."""
        place = bisect_left(self._bounds, value)
        with self._lock:
            self._pending[place] += times
            self._sum += value * times

    def flush(self) -> None:
        """Hand over, the widest bucket first: whoever reads meanwhile finds none above its wider ones."""
        with self._lock:
            pending, self._pending = self._pending, [0] * len(self._pending)
            total, self._sum = self._sum, 0.0
        if seen := sum(pending):
            self._count.increment(seen)
            self._total.increment(total)
        up_to = [*itertools.accumulate(pending)]
        for bucket, count in reversed([*zip(self._buckets, up_to)]):
            if count:
                bucket.increment(count)


class Metrics:
    """The metrics of one step's process, and the thread that hands them over.

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
        """A series of its own for each set of labels, there from the start with 0."""
        return self._keep(Counter(self._metric("COUNTER", name, description, labels)))

    def gauge(self, name: str, description: str, **labels: str) -> Gauge:
        """See counter."""
        return self._keep(Gauge(self._metric("GAUGE", name, description, labels)))

    def histogram(self, name: str, description: str, bounds: Sequence[float]) -> Histogram:
        """Triton's own kind, for what comes once a request. bounds: the buckets' upper ones, without +Inf."""
        return self._keep(Histogram(self._metric("HISTOGRAM", name, description, {}, buckets=[*bounds])))

    def spread_histogram(
        self, name: str, description: str, bounds: Sequence[float], **labels: str
    ) -> SpreadHistogram:
        """The kind that is laid out of counters."""
        buckets = [
            self._metric("COUNTER", f"{name}_bucket", f"{description}, up to le", {**labels, "le": le})
            for le in (*map("{:g}".format, bounds), "+Inf")
        ]
        total = self._metric("COUNTER", f"{name}_sum", f"{description}, added up", labels)
        count = self._metric("COUNTER", f"{name}_count", f"{description}, how many", labels)
        return self._keep(SpreadHistogram(bounds, buckets, total, count))

    def each_second(self, job: Callable[[], None]) -> None:
        """Call this before each time that values are handed over."""
        self._jobs.append(job)

    def start(self) -> None:
        """Hand values over, now and once a second."""
        self.flush()
        self._thread.start()

    def close(self) -> None:
        """Hand over the last values."""
        self._closed.set()
        self._thread.join()

    def flush(self) -> None:
        """Hand over what came since the last time."""
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
    """A family whose metrics nobody reads, for a step that runs without Triton."""

    def __init__(self, *_: str) -> None:
        pass

    def Metric(self, **_: Any) -> None:  # noqa: N802 - as pb_utils calls it
        """No metric; it is never handed anything, since nothing is started."""
