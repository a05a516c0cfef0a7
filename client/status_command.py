# SPDX-License-Identifier: Apache-2.0
"""What the server says of itself: ready, version, models, requests.

`waiting` is Triton's own queue, from its metrics. The engine's kind, its limits, and what runs and waits
inside it are not published by the server.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

from client.address import parse_url
from client.metrics import pending_requests
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
    pending = pending_requests(arguments.metrics_url or host)
    if arguments.json:
        write(json.dumps({**dataclasses.asdict(status), "waiting": pending}) + "\n")
    else:
        write_status(status, pending)
    return 0 if status.ready else NOT_READY


def write_status(status: Status, pending: dict[str, int] | None) -> None:
    """A few lines and a table."""
    ready = "ready" if status.ready else "not ready"
    sys.stdout.write(bold(f"{status.server} {status.version}: {ready}", sys.stdout) + "\n")
    if status.models:
        write(f"max_batch_size of ensemble: {status.batch_limit}\n\n")
        heads = ("model", "version", "requests", "answered", "failed", "mean ms", "waiting")
        rows = [_row(model, pending) for model in status.models]
        widths = [max(map(len, column)) for column in zip(heads, *rows)]
        for row in (heads, *rows):
            cells = [
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))
            ]
            write("  ".join(cells).rstrip() + "\n")
    if pending is None:
        write("no metrics there: give --metrics-url to see what waits\n")


def _row(model: ModelStatus, pending: dict[str, int] | None) -> tuple[str, ...]:
    mean = "-" if model.mean_ms is None else f"{model.mean_ms:.1f}"
    waiting = "-" if pending is None else str(pending.get(model.name, "-"))
    counts = (model.inferences, model.answered, model.failed)
    return (model.name, model.version, *map(str, counts), mean, waiting)
