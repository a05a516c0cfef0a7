# SPDX-License-Identifier: Apache-2.0
"""The served model: name, precision, engine kind, tokens a sequence.

Read from the server's metrics.
"""

from __future__ import annotations

import argparse
import dataclasses
import json

from llm_ensemble_client.cli.options import add_metrics, add_server, fetch_metrics
from llm_ensemble_client.cli.terminal import table, write
from llm_ensemble_client.errors import ServerError, Unreachable

HEADS = ("model", "precision", "engine", "tokens")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_server(parser)
    add_metrics(parser)
    parser.add_argument("--json", action="store_true", help="write it as a JSON list")


def run(arguments: argparse.Namespace) -> int:
    """Read the metrics, write the table and return the exit code."""
    url, metrics = fetch_metrics(arguments)
    if metrics is None:
        raise Unreachable(f"no metrics at {url}: give --metrics-url")
    engine = metrics.engine
    if engine is None:
        raise ServerError(f"{url} names no model: the server is loading, or is no llm-ensemble server")
    if arguments.json:
        write(json.dumps([dataclasses.asdict(engine)]) + "\n")
    else:
        write(table([HEADS, (engine.model, engine.precision, engine.engine, str(engine.max_seq_len))]))
    return 0
