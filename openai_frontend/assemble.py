# SPDX-License-Identifier: Apache-2.0
"""The parts put together: the API, what protects and observes it, and the server that runs it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from llm_ensemble.telemetry.request_log import line_writer
from openai_frontend.protection.protect import protect
from openai_frontend.protection.slow_clients import Limits
from openai_frontend.server import limits_of, make_server
from openai_frontend.settings import FrontendSettings
from openai_frontend.telemetry.metrics import Metrics, MetricsPage
from openai_frontend.telemetry.observe import Observed
from openai_frontend.telemetry.request_log import RequestLog


@dataclass(frozen=True)
class Assembled:
    """A server to run, and what has seen all of its requests."""

    server: uvicorn.Server
    observed: Observed


def assemble(
    api: ASGIApp,
    paths: Iterable[str],
    settings: FrontendSettings,
    *,
    drain_seconds: int,
    log_format: str = "text",
    limits: Limits | None = None,
) -> Assembled:
    """Return a server of the API. Raise SettingError.

    paths: its routes. drain_seconds: what requests have to end once the server is told to stop. limits: those
    of a connection, by default the settings'.
    """
    metrics = Metrics()
    app = protect(MetricsPage(api, metrics), settings)
    observed = Observed(app, metrics, RequestLog(line_writer(log_format)), paths)
    server = make_server(observed, settings, limits or limits_of(settings), drain_seconds)
    metrics.measure_connections(lambda: len(server.server_state.connections))
    return Assembled(server, observed)
