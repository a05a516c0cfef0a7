# SPDX-License-Identifier: Apache-2.0
"""The sampling fields as options of a command, read off the contract, and the client that a command uses."""

from __future__ import annotations

import argparse
import os
from typing import Any

from client.blocking import Client
from llm_ensemble.fields import FIELDS

NO_OPTIONS = ("text_input", "messages", "stream")
TYPES: dict[str, Any] = {"INT32": int, "UINT64": int, "FP32": float, "BYTES": str}


def add_server(parser: argparse.ArgumentParser) -> None:
    """Where the server is, how long to wait, whether to ask again."""
    url = os.environ.get("LLM_ENSEMBLE_URL", "http://localhost:8000")
    parser.add_argument(
        "--url", default=url, help="http://HOST:8000 or grpc://HOST:8001 (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout", type=seconds, default=300.0, help="seconds for one answer (default: %(default)g)"
    )
    parser.add_argument("--no-retries", action="store_true", help="give up at the first overload or failure")


def seconds(text: str) -> float:
    """A number of seconds above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """An option a field: --max-tokens for max_tokens."""
    group = parser.add_argument_group(
        "sampling", "the contract's fields; README.md, The contract, explains them"
    )
    for name, field in FIELDS.items():
        if name in NO_OPTIONS:
            continue
        option = "--" + name.replace("_", "-")
        if field.datatype == "BOOL":
            group.add_argument(option, action=argparse.BooleanOptionalAction, default=None)
        elif field.many:
            group.add_argument(option, action="append", metavar="WORD", help="once for each word")
        else:
            group.add_argument(option, type=TYPES[field.datatype], metavar=field.datatype)


def sampling(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields that were given."""
    values = {name: getattr(arguments, name, None) for name in FIELDS if name not in NO_OPTIONS}
    return {name: value for name, value in values.items() if value is not None}


def client_of(arguments: argparse.Namespace) -> Client:
    """The client that the options ask for."""
    return Client(arguments.url, timeout=arguments.timeout, retries=not arguments.no_retries)
