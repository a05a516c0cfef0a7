# SPDX-License-Identifier: Apache-2.0
"""The settings of the server itself, beside those of the stages (llm_ensemble/settings.py)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from llm_ensemble.settings import Values, setting, switch

ADMIN_KEY = re.compile(r"([A-Za-z0-9._-]{16,})?")  # Triton splits the option at ",", ":" and "="
# Triton splits the option at "," and "=". Its exporter sends JSON over plain HTTP.
TRACE_URL = re.compile(r"(http://[A-Za-z0-9.:\[\]-]+/[A-Za-z0-9/._~-]*)?")
TRACE_RATE = re.compile(r"([1-9][0-9]{0,8})?")


def matching(pattern: re.Pattern[str], words: str, *, secret: bool = False) -> Values:
    """Return the values of a text that matches a pattern."""

    def read(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError
        return text

    return Values(words, read, secret)


@dataclass(frozen=True)
class ServerSettings:
    """The engine stage's Python, and options of tritonserver. An empty text is the same as none."""

    engine_python: str = setting(
        "",
        Values("the path of a Python", str),
        "The Python whose environment the engine stage runs in. Default: that of `serve` if it has the "
        "engine's library, else that of `.venv-vllm` (`.venv-` and the engine kind) in the clone.",
    )
    gpu_metrics: bool = setting(
        False,
        switch(),
        "Whether tritonserver sees the GPUs, for its metrics of them (`nv_gpu_*`). It then takes hundreds of "
        "MiB of each for itself.",
    )
    admin_key: str = setting(
        "",
        matching(ADMIN_KEY, "16 or more letters, digits, dots, dashes or underscores", secret=True),
        "Opens the admin APIs (model control, shared memory, trace, logging) to requests that carry it, in "
        "the header `admin-key`. Without it they are closed.",
    )
    trace_url: str = setting(
        "",
        matching(TRACE_URL, "like http://localhost:4318/v1/traces"),
        "The OpenTelemetry collector that gets traces, as OTLP over HTTP.",
    )
    trace_rate: str = setting(
        "",
        matching(TRACE_RATE, "a whole number of requests, at least 1"),
        "One of this many requests is traced, all by default; a request with a `traceparent` header always. "
        "Only with `TRACE_URL`.",
    )


@dataclass(frozen=True)
class ImageSettings:
    """Where an image's server listens; elsewhere these are options of serve."""

    host: str = setting("0.0.0.0", Values("an address of the machine, or a name of one", str), "The address.")
    http_port: str = setting("8000", Values("a port", str), "The port of HTTP.")
    grpc_port: str = setting("8001", Values("a port", str), "The port of gRPC.")
    metrics_port: str = setting("8002", Values("a port", str), "The port of Prometheus' metrics.")
    openai_port: str = setting("9000", Values("a port, or 0", str), "That of OpenAI's API; 0 turns it off.")
