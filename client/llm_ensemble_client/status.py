# SPDX-License-Identifier: Apache-2.0
"""The status of a server: readiness, version, models and their statistics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from llm_ensemble_client.deadline import Deadline
from llm_ensemble_client.transport import Transport


@dataclass(frozen=True)
class ModelStatus:
    """Triton's statistics of one model since the server started.

    inferences: requests, each of a batch counted
    answered, failed: responses, and failed requests, both as Triton counts them
    mean_ms: mean time from arrival to end, milliseconds; None before the first
    """

    name: str
    version: str
    inferences: int
    answered: int
    failed: int
    mean_ms: float | None


@dataclass(frozen=True)
class Status:
    """The status of a server.

    ready: whether it accepts requests
    server, version: name and version that the server reports
    batch_limit: max_batch_size of `ensemble`; 0 while not ready. The engine's limits and load are metrics,
        on a port of their own (metrics.py)
    models: one for each model; empty while not ready
    """

    ready: bool
    server: str
    version: str
    batch_limit: int
    models: tuple[ModelStatus, ...]


async def read_status(transport: Transport, timeout: float) -> Status:
    """Return the status. Raise ClientError."""
    deadline = Deadline(timeout)
    ready = bool((await transport.metadata("ready", deadline)).get("ready", False))
    server = await transport.metadata("server", deadline)
    config = await transport.metadata("config", deadline) if ready else {}
    statistics = await transport.metadata("statistics", deadline) if ready else {}
    return Status(
        ready=ready,
        server=str(server.get("name", "")),
        version=str(server.get("version", "")),
        batch_limit=int(config.get("max_batch_size", 0)),
        models=tuple(_models(statistics.get("model_stats", []))),
    )


def _models(stats: Iterable[dict[str, Any]]) -> Iterable[ModelStatus]:
    for one in stats:
        done = one.get("inference_stats", {})
        success, failure = done.get("success", {}), done.get("fail", {})
        count, ns = int(success.get("count", 0)), int(success.get("ns", 0))
        yield ModelStatus(
            name=str(one["name"]),
            version=str(one.get("version", "")),
            inferences=int(one.get("inference_count", 0)),
            answered=count,
            failed=int(failure.get("count", 0)),
            mean_ms=ns / count / 1e6 if count else None,
        )
