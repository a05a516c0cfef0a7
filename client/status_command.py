# SPDX-License-Identifier: Apache-2.0
"""What the server says of itself: ready, version, engine and its load, models, requests.

The engine's line and the table's `waiting`, which is Triton's own queue, come from the metrics' port.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

from client.address import parse_url
from client.metrics import EngineStatus, read_metrics
from client.options import add_server, client_of
from client.status import ModelStatus, Status
from client.terminal import bold, write

NOT_READY = 6  # as if it had not been reached


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add_server(parser)
    parser.add_argument("--metrics-url", help="of Triton's metrics (default: http://HOST:8002/metrics)")
    parser.add_argument("--json", action="store_true", help="write it as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Ask and write; the exit code of a server that is not ready is that of one not reached."""
    with client_of(arguments) as client:
        status = client.status()
    host = dataclasses.replace(parse_url(arguments.url), scheme="http", port=8002, prefix="/metrics").url
    metrics = read_metrics(arguments.metrics_url or host)
    pending, engine = (metrics.pending, metrics.engine) if metrics else (None, None)
    if arguments.json:
        said = {"waiting": pending, "engine": engine and dataclasses.asdict(engine)}
        write(json.dumps({**dataclasses.asdict(status), **said}) + "\n")
    else:
        write_status(status, pending, engine)
    return 0 if status.ready else NOT_READY


def write_status(status: Status, pending: dict[str, int] | None, engine: EngineStatus | None) -> None:
    """A few lines and a table."""
    ready = "ready" if status.ready else "not ready"
    sys.stdout.write(bold(f"{status.server} {status.version}: {ready}", sys.stdout) + "\n")
    if engine:
        write(f"{engine_line(engine)}\n")
    if status.models:
        write("\n")
        heads = ("model", "version", "requests", "answered", "failed", "mean ms", "waiting")
        rows = [_row(model, pending) for model in status.models]
        widths = [max(map(len, column)) for column in zip(heads, *rows)]
        for row in (heads, *rows):
            cells = [
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))
            ]
            write("  ".join(cells).rstrip() + "\n")
    if pending is None:
        write("no metrics there: give --metrics-url to see the engine and what waits\n")


def engine_line(engine: EngineStatus) -> str:
    """The engine, its load and its limits."""
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
