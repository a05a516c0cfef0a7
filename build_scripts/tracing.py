# SPDX-License-Identifier: Apache-2.0
"""Traces of requests, which tritonserver itself sends to an OpenTelemetry collector."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from llm_ensemble.errors import SettingError

SERVICE = "llm-ensemble"
# What Triton's option can say: it splits at "," and "=". Its exporter speaks JSON over plain HTTP.
URL = re.compile(r"http://[A-Za-z0-9.:\[\]-]+/[A-Za-z0-9/._~-]*")


def tracing(environ: Mapping[str, str] = os.environ) -> list[str]:
    """tritonserver's options; none without TRACE_URL. Raises SettingError.

    TRACE_URL: where a collector takes OTLP over HTTP, as http://localhost:4318/v1/traces.
    TRACE_RATE: one of so many requests is traced, 1 for all. A request with a traceparent header always is.
    """
    url, rate = environ.get("TRACE_URL"), environ.get("TRACE_RATE")
    if not url:
        if rate:
            raise SettingError("TRACE_RATE does nothing without TRACE_URL: set that too, or neither")
        return []
    if not URL.fullmatch(url):
        raise SettingError(f"TRACE_URL must be like http://localhost:4318/v1/traces, not {url!r}")
    rate = rate or "1"
    if not re.fullmatch("[1-9][0-9]{0,8}", rate):
        raise SettingError(f"TRACE_RATE must be a whole number of requests, at least 1, not {rate!r}")
    settings = (
        "mode=opentelemetry",
        f"opentelemetry,url={url}",
        f"opentelemetry,resource=service.name={SERVICE}",
        f"rate={rate}",
        "level=TIMESTAMPS",
    )
    return [f"--trace-config={setting}" for setting in settings]
