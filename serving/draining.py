# SPDX-License-Identifier: Apache-2.0
"""Draining: ending tritonserver once its requests have ended.

While a client keeps an idle HTTP connection open, tritonserver waits for the whole of its exit timeout and
then fails (HTTPServer::Stop, in 2.51.0 as in the newest). 2.51.0 does so, too, when a client has cancelled a
gRPC call as its response was sent (docs/decisions.md). Neither is a request in flight.

At SIGTERM tritonservers before 25.05 wait for HTTP alone and break gRPC calls off. There `drain` waits for
these before it sends the signal.
"""

from __future__ import annotations

import re
import sys
import time

from llm_ensemble.telemetry import names
from serving.health import read_metrics
from serving.installation import find_installation
from serving.listening import is_connected
from serving.server_options import DRAIN_SECONDS
from serving.tritonserver import Server

# Gauges are up to a second old, and traces are exported every 5 s. A prompt of 10 MB is tokenized in less.
IDLE_SECONDS = 6.0
CHECK_SECONDS = 0.5
EXIT_SECONDS = 10.0  # after its exit timeout, for tritonserver to end by itself
GRPC_WAITS = (2, 58)  # tritonserver of 25.05 waits for gRPC calls (server pull request 7969)
GRPC_IDLE_SECONDS = 1.25  # more than the age of a gauge; what an idle gRPC connection costs
GRPC_CHECK_SECONDS = 0.25
# Counters that change while requests are served, and the gauges that are 0 when no request is open.
COUNTS = re.compile(r"^nv_inference_(?:request_success|request_failure|count)\{.*$", re.MULTILINE)
OPEN = re.compile(rf"^(?:{names.REQUESTS_RUNNING}|{names.REQUESTS_WAITING})\b\S* (\S+)$", re.MULTILINE)


def drain(server: Server, deadline: float) -> int:
    """Let requests in flight end, until the deadline at most, then the server; return its exit status.

    The status is 0 also where the server was killed after IDLE_SECONDS without a request in flight.
    """
    if find_installation().is_before(*GRPC_WAITS):
        _wait_for_grpc(server, deadline)
    server.process.terminate()
    idle = IdleTimer()
    while server.process.poll() is None and time.monotonic() < deadline + EXIT_SECONDS:
        if idle.update(read_metrics(server.ports)) >= IDLE_SECONDS:
            server.stop(0)
            sys.stderr.write(
                "serve: ended tritonserver, which waited for clients with no request in flight\n"
            )
            return 0
        time.sleep(CHECK_SECONDS)
    return server.stop(0)


def _wait_for_grpc(server: Server, deadline: float) -> None:
    """Return once no gRPC client is connected or no request is in flight, or at the deadline.

    Which protocol a request came by is not known here, so requests over HTTP count, too.
    """
    idle = IdleTimer()
    while server.process.poll() is None and is_connected(server.ports.grpc):
        if idle.update(read_metrics(server.ports)) >= GRPC_IDLE_SECONDS:
            return
        if time.monotonic() > deadline:
            sys.stderr.write(
                f"serve: requests had not ended after {DRAIN_SECONDS} s: those over gRPC are cut\n"
            )
            return
        time.sleep(GRPC_CHECK_SECONDS)


class IdleTimer:
    """Measures for how long no request has been in flight, by the server's metrics."""

    def __init__(self) -> None:
        self._counts: list[str] = []
        self._idle_since = time.monotonic()

    def update(self, metrics: str) -> float:
        """Take the metrics of now, "" if they could not be read; return the seconds without a request."""
        now = time.monotonic()
        counts = COUNTS.findall(metrics)
        is_open = any(float(value) for value in OPEN.findall(metrics))
        if is_open or not metrics or counts != self._counts:
            self._idle_since = now
        self._counts = counts
        return now - self._idle_since
