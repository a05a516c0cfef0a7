# SPDX-License-Identifier: Apache-2.0
"""A conversation in the terminal.

Every turn sends the whole history through the model's own chat template. Ctrl-C stops an answer (what has
come stays in the history), Ctrl-D leaves. A model without a chat template refuses the first turn.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

from client.blocking import Client
from client.errors import ClientError, InvalidRequest
from client.options import add_sampling, add_server, client_of, sampling
from client.terminal import bold, note, write

YOU, MODEL = "you> ", "model> "


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add_server(parser)
    parser.add_argument("--system", help="what the conversation begins with, in the role of the system")
    parser.add_argument(
        "--json", action="store_true", help="write each answer as one line of JSON, no prompts"
    )
    add_sampling(parser)


def run(arguments: argparse.Namespace) -> int:
    """Talk until Ctrl-D."""
    history = [{"role": "system", "content": arguments.system}] if arguments.system else []
    shows = sys.stdin.isatty() and not arguments.json
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  it gives input() its line editing
    with client_of(arguments) as client:
        for turn, line in enumerate(_lines(shows)):
            history.append({"role": "user", "content": line})
            try:
                text = _answer(client, history, arguments, shows)
            except ClientError as error:
                if turn == 0 or not shows:
                    raise _explained(error) from error
                sys.stderr.write(f"{error}\n")  # the conversation goes on without this turn
                history.pop()
                continue
            if text:
                history.append({"role": "assistant", "content": text})
            else:
                history.pop()  # stopped before it said anything: as if never asked
    return 0


def _lines(shows: bool) -> Iterator[str]:
    """What is said, line by line; a Ctrl-C at the prompt drops the line that was begun."""
    while True:
        try:
            # input() counts the prompt's columns, so it is left without colour.
            line = input(YOU if shows else "")
        except EOFError:
            if shows:
                write("\n")
            return
        except KeyboardInterrupt:
            write("\n")
            continue
        if line.strip():
            yield line


def _answer(client: Client, history: list[Any], arguments: argparse.Namespace, shows: bool) -> str:
    """One answer, written as it comes; what there was when Ctrl-C stopped it."""
    pieces: list[str] = []
    reason = "stopped"
    if shows:
        sys.stdout.write(bold(MODEL, sys.stdout))
        sys.stdout.flush()
    with client.stream(messages=history, **sampling(arguments)) as stream:
        with contextlib.suppress(KeyboardInterrupt):
            for piece in stream:
                pieces.append(piece)
                if not arguments.json:
                    write(piece)
        reason = stream.finish_reason or reason
    text = "".join(pieces)
    write(json.dumps({"text": text, "finish_reason": reason}) + "\n" if arguments.json else "\n")
    if reason not in ("stop", "stopped"):
        note(f"[{reason}]")
    return text


def _explained(error: ClientError) -> ClientError:
    if isinstance(error, InvalidRequest) and "chat template" in str(error):
        return InvalidRequest(f"{error}: use `generate` with this model", error.field)
    return error
