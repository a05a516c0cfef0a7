# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, and the client made from them."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from llm_ensemble.contract.fields import FIELDS
from llm_ensemble_client.address import parse_url
from llm_ensemble_client.advice import advice
from llm_ensemble_client.cli.terminal import note
from llm_ensemble_client.client import Client
from llm_ensemble_client.errors import ClientError, Overloaded, ServerError, TimedOut, Unreachable
from llm_ensemble_client.metrics import Metrics, metrics_url, read_metrics
from llm_ensemble_client.request import NO_KEYWORDS
from llm_ensemble_client.retry import Retry

SHORT = {"max_tokens": "-n", "temperature": "-t"}  # -n as in llama.cpp
TYPES: dict[str, Any] = {"INT32": int, "UINT64": int, "FP32": float, "BYTES": str}


def add_server(parser: argparse.ArgumentParser) -> None:
    """Add the server's URL, the timeout and whether to retry."""
    url = os.environ.get("LLM_ENSEMBLE_URL", "http://localhost:8000")
    parser.add_argument(
        "--url",
        default=url,
        help="HOST:8000 for HTTP, HOST:8001 for gRPC; also http://, https://, grpc:// or "
        "grpcs://HOST:PORT (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout", type=seconds, default=300.0, help="limit of a request, in seconds (default: %(default)g)"
    )
    parser.add_argument(
        "--no-retries",
        action="store_true",
        help="do not retry after an overload or a lost connection",
    )


def add_file(parser: argparse._ActionsContainer, *names: str, help: str) -> None:
    """Add an option for a file, whose name a shell completes."""
    action = parser.add_argument(*names, metavar="FILE", help=help)
    if shtab := sys.modules.get("shtab"):  # only `completion` imports it
        action.complete = shtab.FILE  # type: ignore[attr-defined]


def seconds(text: str) -> float:
    """Return a number of seconds. Raise ValueError unless it is finite and above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Add an option for each field, such as --max-tokens for max_tokens."""
    group = parser.add_argument_group("sampling", "fields of the request, explained in docs/contract.md")
    for name, field in FIELDS.items():
        if name in NO_KEYWORDS:
            continue
        options = [*filter(None, [SHORT.get(name)]), "--" + name.replace("_", "-")]
        if field.datatype == "BOOL":
            group.add_argument(*options, action=argparse.BooleanOptionalAction, default=None)
        elif field.many:
            metavar = "WORD" if field.datatype == "BYTES" else field.datatype
            group.add_argument(
                *options, action="append", type=TYPES[field.datatype], metavar=metavar, help="may be repeated"
            )
        else:
            group.add_argument(*options, type=TYPES[field.datatype], metavar=field.datatype)


def sampling(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the fields that were given, by name."""
    values = {name: getattr(arguments, name, None) for name in FIELDS if name not in NO_KEYWORDS}
    return {name: value for name, value in values.items() if value is not None}


def add_metrics(parser: argparse.ArgumentParser) -> None:
    """Add the metrics' URL."""
    parser.add_argument(
        "--metrics-url", help="URL of Triton's metrics (default port: two after HTTP's, one after gRPC's)"
    )


def fetch_metrics(arguments: argparse.Namespace) -> tuple[str, Metrics | None]:
    """Return the metrics' URL and the metrics; None if they cannot be read."""
    url = arguments.metrics_url or metrics_url(parse_url(arguments.url))
    return url, read_metrics(url)


def describe_error(error: ClientError, url: str) -> str:
    """Return the text of an error, with a line of advice if no server of this project responds."""
    needs_advice = isinstance(error, (Unreachable, ServerError)) and not isinstance(error, TimedOut)
    hint = advice(parse_url(url)) if needs_advice else ""
    return f"{error}\n{hint}" if hint else str(error)


def make_client(arguments: argparse.Namespace) -> Client:
    """Return a client with the options of a command."""
    address = parse_url(arguments.url)

    def before_pause(error: ClientError) -> None:
        """Write a note, or end the call if there is no server: a retry would not change that."""
        if not isinstance(error, Overloaded) and advice(address):
            raise error
        note(f"[{error}; asking again]")

    retries = not arguments.no_retries and Retry(before_pause=before_pause)
    return Client(arguments.url, timeout=arguments.timeout, retries=retries)
