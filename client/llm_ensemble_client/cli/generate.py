# SPDX-License-Identifier: Apache-2.0
"""One prompt, one completion.

llm-ensemble-client generate "To change the settings," -n 32
llm-ensemble-client generate "In one sentence:" < report.txt     # the file, a space, the prompt
llm-ensemble-client generate --system "Answer in French." "Why is the sky blue?"
llm-ensemble-client generate "To change the settings," --json | jq .finish_reason
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from llm_ensemble_client.cli.options import add_file, add_sampling, add_server, make_client, sampling
from llm_ensemble_client.cli.state import read_messages
from llm_ensemble_client.cli.terminal import note, usage_line, write
from llm_ensemble_client.client import Client
from llm_ensemble_client.errors import InvalidRequest, ServerError, UsageError
from llm_ensemble_client.response import Completion

SEVERAL = ("beam_width", "num_return_sequences")  # fields of requests with several texts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_server(parser)
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "prompt",
        nargs="?",
        help="the text to continue, appended to standard input if that is a pipe; "
        "without it, or with -, standard input alone",
    )
    add_file(source, "-f", "--file", help="read the prompt from this file; - for standard input")
    add_file(
        source,
        "--messages",
        help='read a conversation: JSON, [{"role": ..., "content": ...}, ...]',
    )
    parser.add_argument("-s", "--system", help="send the prompt as a message after this system message")
    parser.add_argument(
        "--stream",
        action=argparse.BooleanOptionalAction,
        help="write the text as it arrives (default: on a terminal, unless the request has several texts)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="write the completion as JSON; with --stream one line for each piece, then the completion",
    )
    parser.add_argument(
        "-u",
        "--usage",
        action="store_true",
        help="write the token counts to stderr; default on a terminal",
    )
    add_sampling(parser)


def run(arguments: argparse.Namespace) -> int:
    """Send the request, write its completion and return the exit code."""
    request = {**_prompt_or_messages(arguments), **sampling(arguments)}
    with make_client(arguments) as client:
        if _streams(arguments):
            completion = _streamed(client, request, arguments.json)
        else:
            completion = client.generate(**request)
            if not arguments.json:
                write("\n".join(completion.texts))
    write(json.dumps(dataclasses.asdict(completion)) + "\n" if arguments.json else "\n")
    note(usage_line(completion), always=arguments.usage)
    return 0


def _streams(arguments: argparse.Namespace) -> bool:
    if arguments.stream is not None:
        return bool(arguments.stream)
    several = any((getattr(arguments, name) or 1) > 1 for name in SEVERAL)
    return sys.stdout.isatty() and not arguments.json and not several


def _streamed(client: Client, request: dict[str, Any], as_json: bool) -> Completion:
    with client.stream(**request) as stream:
        for piece in stream:
            write(json.dumps({"text": piece}) + "\n" if as_json else piece)
    if stream.completion is None:
        raise ServerError("the stream ended without a finish reason")
    return stream.completion


def _prompt_or_messages(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the prompt or the messages, as arguments of generate() and stream()."""
    if arguments.messages is not None:
        if arguments.system is not None:
            raise UsageError("--system: put it into the --messages, as the first")
        path = "/dev/stdin" if arguments.messages == "-" else arguments.messages
        return {"messages": read_messages(path, "--messages")}
    if arguments.system is None:
        return {"prompt": _prompt(arguments)}
    system = {"role": "system", "content": arguments.system}
    return {"messages": [system, {"role": "user", "content": _prompt(arguments)}]}


def _prompt(arguments: argparse.Namespace) -> str:
    try:
        if arguments.file not in (None, "-"):
            given = Path(arguments.file).read_bytes().decode()
        elif arguments.prompt not in (None, "-"):
            given = arguments.prompt
        else:
            if sys.stdin.isatty():
                note("The prompt, then Ctrl-D:")
            return sys.stdin.buffer.read().decode()
        # Joined as `llm` and `ollama run` do: standard input, a space, the prompt.
        before = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer.read().decode()
        return f"{before} {given}" if before else given
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the prompt is not UTF-8 at byte {error.start}", "text_input") from error
    except OSError as error:
        raise UsageError(f"--file: {error.strerror}: {arguments.file}") from error
