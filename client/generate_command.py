# SPDX-License-Identifier: Apache-2.0
"""One prompt, one answer.

llm-ensemble-client generate "To change the settings," --max-tokens 32
llm-ensemble-client generate --stream --temperature 0.7 --seed 7 < prompt.txt
llm-ensemble-client generate "To change the settings," --json | jq .finish_reason
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

from client.cli_text import finished
from client.errors import InvalidRequest
from client.options import add_sampling, add_server, client_of, sampling
from client.terminal import note, write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add_server(parser)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("prompt", nargs="?", help="the text to go on from (default: standard input)")
    source.add_argument("--file", help="read the prompt from this file, as it is; - for standard input")
    parser.add_argument("--stream", action="store_true", help="write the text as it comes")
    parser.add_argument(
        "--json",
        action="store_true",
        help="write the answer as JSON; with --stream a line a piece, the answer last",
    )
    add_sampling(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask and write."""
    prompt, fields = _prompt(arguments), sampling(arguments)
    with client_of(arguments) as client:
        if not arguments.stream:
            completion = client.generate(prompt, **fields)
            if not arguments.json:
                write("\n".join(completion.texts))
        else:
            with client.stream(prompt, **fields) as stream:
                for piece in stream:
                    write(json.dumps({"text": piece}) + "\n" if arguments.json else piece)
            completion = finished(stream)
    write(json.dumps(dataclasses.asdict(completion)) + "\n" if arguments.json else "\n")
    note(
        f"[{completion.finish_reason}; {completion.num_input_tokens} tokens in, "
        f"{completion.num_output_tokens} out]"
    )
    return 0


def _prompt(arguments: argparse.Namespace) -> str:
    if arguments.prompt is not None:
        return str(arguments.prompt)
    try:
        if arguments.file in (None, "-"):
            if sys.stdin.isatty():
                note("The prompt, then Ctrl-D:")
            return sys.stdin.buffer.read().decode()
        with open(arguments.file, "rb") as file:
            return file.read().decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the prompt is not UTF-8 at byte {error.start}", "text_input") from error
    except OSError as error:
        raise InvalidRequest(f"--file: {error.strerror}: {arguments.file}", "file") from error
