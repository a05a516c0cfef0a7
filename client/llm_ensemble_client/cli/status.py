# SPDX-License-Identifier: Apache-2.0
"""The server's readiness, version, engine, load and models.

The line of the engine and the column `waiting`, which is Triton's own queue, are read from the metrics.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

from llm_ensemble_client.cli.options import add_metrics, add_server, fetch_metrics, make_client
from llm_ensemble_client.cli.terminal import bold, table, write
from llm_ensemble_client.metrics import EngineStatus
from llm_ensemble_client.status import ModelStatus, Status

NOT_READY = 6  # the exit code of an unreachable server


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_server(parser)
    add_metrics(parser)
    parser.add_argument("--json", action="store_true", help="write it as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Write the status and return the exit code: NOT_READY unless the server is ready."""
    with make_client(arguments) as client:
        status = client.status()
    url, metrics = fetch_metrics(arguments)
    pending, engine = (metrics.pending, metrics.engine) if metrics else (None, None)
    if arguments.json:
        load = {"waiting": pending, "engine": engine and dataclasses.asdict(engine)}
        write(json.dumps({**dataclasses.asdict(status), **load}) + "\n")
    else:
        write_status(status, pending, engine)
        if metrics is None:
            write(f"no metrics at {url}: give --metrics-url to see the engine and the waiting requests\n")
    return 0 if status.ready else NOT_READY


def write_status(status: Status, pending: dict[str, int] | None, engine: EngineStatus | None) -> None:
    """Write the status as lines and a table."""
    ready = "ready" if status.ready else "not ready"
    sys.stdout.write(bold(f"{status.server} {status.version}: {ready}", sys.stdout) + "\n")
    if engine:
        write(f"{engine_line(engine)}\n")
    if status.models:
        write("\n")
        heads = ("model", "version", "requests", "answered", "failed", "mean ms", "waiting")
        write(table([heads, *(_row(model, pending) for model in status.models)]))


def engine_line(engine: EngineStatus) -> str:
    """Return a line with the engine, its load and its limits."""
    several = f", {engine.instances} instances" if engine.instances > 1 else ""
    each = " each" if several else ""
    return (
        f"{engine.model}, {engine.precision}, on {engine.engine}{several}: {engine.running} running, "
        f"{engine.waiting} waiting; at most {engine.max_batch_size} run and {engine.max_waiting} wait{each}, "
        f"{engine.max_seq_len} tokens a sequence"
    )


def _row(model: ModelStatus, pending: dict[str, int] | None) -> tuple[str, ...]:
    mean = "-" if model.mean_ms is None else f"{model.mean_ms:.1f}"
    waiting = "-" if pending is None else str(pending.get(model.name, "-"))
    counts = (model.inferences, model.answered, model.failed)
    return (model.name, model.version, *map(str, counts), mean, waiting)
