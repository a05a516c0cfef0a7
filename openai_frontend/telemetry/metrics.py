# SPDX-License-Identifier: Apache-2.0
"""The frontend's metrics in Prometheus' form. docs/metrics.md says what they measure."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp, Receive, Scope, Send

REQUESTS = "llm_openai_requests_total"
DURATION = "llm_openai_request_duration_seconds"
IN_FLIGHT = "llm_openai_requests_in_flight"
DISCONNECTS = "llm_openai_disconnects_total"
CONNECTIONS = "llm_openai_connections"

PATH = "/metrics"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
METHODS = ("GET", "POST", "HEAD", "OPTIONS")  # others share a label: a client may invent any

disable_created_metrics()  # type: ignore[no-untyped-call]  # otherwise each series has one more, of its age


class Metrics:
    """Counts requests by route, method and status. Its values are its own, not those of the process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            REQUESTS.removesuffix("_total"),
            "Requests that ended",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self._duration = Histogram(
            DURATION,
            "From a request's headers to its end",
            ["route"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._disconnects = Counter(
            DISCONNECTS.removesuffix("_total"),
            "Requests whose client left before their end",
            ["route"],
            registry=self.registry,
        )
        self.in_flight = Gauge(IN_FLIGHT, "Requests that have not ended", registry=self.registry)
        self._connections = Gauge(CONNECTIONS, "Connections that are open", registry=self.registry)

    def count(self, route: str, method: str, status: int, seconds: float, *, is_whole: bool) -> None:
        """Count a request that ended. is_whole: whether its client stayed."""
        self._requests.labels(route, method if method in METHODS else "other", str(status)).inc()
        self._duration.labels(route).observe(seconds)
        if not is_whole:
            self._disconnects.labels(route).inc()

    def measure_connections(self, count: Callable[[], int]) -> None:
        """Ask this for the open connections at each scrape."""
        self._connections.set_function(count)


class MetricsPage:
    """Answers GET /metrics; everything else is the app's."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all values of now."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] not in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        body = generate_latest(self._metrics.registry)
        headers = [
            (b"content-type", CONTENT_TYPE_LATEST.encode()),
            (b"content-length", b"%d" % len(body)),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
