# SPDX-License-Identifier: Apache-2.0
"""What a server says of itself: ready or not, its version, its models and what they did."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from client.deadline import Deadline
from client.transport import Transport


@dataclass(frozen=True)
class ModelStatus:
    """What one model of the repository did since the server started.

    inferences: requests it took, each of a batch counted
    answered, failed: responses, and requests that failed; both by Triton's own count
    mean_ms: from a request's arrival to its end, milliseconds; None while there was none
    """

    name: str
    version: str
    inferences: int
    answered: int
    failed: int
    mean_ms: float | None


@dataclass(frozen=True)
class Status:
    """A server at one moment.

    batch_limit: sequences that Triton takes as one batch (max_batch_size of `ensemble`). The engine's own
        limits, and what runs and waits in it, are on another port (metrics.py).
    """

    ready: bool
    server: str
    version: str
    batch_limit: int
    models: tuple[ModelStatus, ...]


async def ask_status(transport: Transport, timeout: float) -> Status:
    """Ask for all of it. A server that loads is ready: False, and may have no models yet."""
    deadline = Deadline(timeout)
    ready = bool((await transport.about("ready", deadline)).get("ready", False))
    server = await transport.about("server", deadline)
    config = await transport.about("config", deadline) if ready else {}
    statistics = await transport.about("statistics", deadline) if ready else {}
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
