# SPDX-License-Identifier: Apache-2.0
"""A conversation in the terminal.

Each message is sent with the whole conversation, through the model's chat template; the command ends with
an error if the model has none. /help lists the commands. On a terminal, typed lines and the last conversation
are saved in $XDG_STATE_HOME/llm-ensemble (default ~/.local/state/llm-ensemble); --no-history saves nothing.
From a pipe, each line is a message, and nothing is saved without --continue.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys

from llm_ensemble_client.cli.chat_input import piped, typed
from llm_ensemble_client.cli.options import add_sampling, add_server, describe_error, make_client, sampling
from llm_ensemble_client.cli.state import line_history, load_conversation, save_conversation
from llm_ensemble_client.cli.terminal import bold, is_typed, note, usage_line, write
from llm_ensemble_client.client import Client
from llm_ensemble_client.errors import ClientError, InvalidRequest, Overloaded
from llm_ensemble_client.request import Message

MODEL = "model> "


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_server(parser)
    parser.add_argument("-s", "--system", help="begin with this system message")
    history = parser.add_mutually_exclusive_group()
    history.add_argument(
        "-c", "--continue", dest="resume", action="store_true", help="continue the last conversation"
    )
    history.add_argument("--no-history", action="store_true", help="do not save lines and conversation")
    parser.add_argument(
        "--json", action="store_true", help="write each completion as one line of JSON, no prompts"
    )
    parser.add_argument("-u", "--usage", action="store_true", help="write the number of tokens to stderr")
    add_sampling(parser)


def run(arguments: argparse.Namespace) -> int:
    """Chat until /bye or the end of input, and return the exit code."""
    is_shown = is_typed() and not arguments.json
    is_saved = (is_shown or arguments.resume) and not arguments.no_history
    messages = _initial_messages(arguments)
    with make_client(arguments) as client, line_history(is_shown and is_saved):
        if is_shown:
            _check_server(client)
            note(
                f"[{len(messages)} messages so far; /help lists the commands]"
                if messages
                else "[/help lists the commands]"
            )
        for text in typed(lambda: _clear(messages)) if is_shown else piped():
            try:
                _turn(client, messages, text, arguments)
            except ClientError as error:
                if not is_shown:
                    raise _without_template(error) from None
                sys.stderr.write(describe_error(error, arguments.url) + "\n")
                continue
            if is_saved:
                save_conversation(messages)
    return 0


def _initial_messages(arguments: argparse.Namespace) -> list[Message]:
    """Return the messages before the first turn; --system replaces a continued system message."""
    messages = load_conversation() if arguments.resume else []
    if arguments.system is None:
        return messages
    system = {"role": "system", "content": arguments.system}
    return [system, *(message for message in messages if message.get("role") != "system")]


def _check_server(client: Client) -> None:
    """Raise ClientError if there is no server or no chat template, before anything is typed.

    The request is invalid, so that nothing is generated; the server applies the template before it finds out.
    """
    try:
        client.generate(messages=[{"role": "user", "content": "?"}], max_tokens=1, min_tokens=2)
    except Overloaded:
        pass  # it may have free slots when the first message is sent
    except InvalidRequest as error:
        if (explained := _without_template(error)) is not error:
            raise explained from error


def _without_template(error: ClientError) -> ClientError:
    """Return the error, replaced by advice if it is a missing chat template."""
    if isinstance(error, InvalidRequest) and "no chat template" in str(error):
        message = "messages: this model has no chat template and cannot chat: `generate` continues a text"
        return InvalidRequest(message, "messages")
    return error


def _clear(messages: list[Message]) -> None:
    messages[:] = [message for message in messages if message.get("role") == "system"]


def _turn(client: Client, messages: list[Message], text: str, arguments: argparse.Namespace) -> None:
    """Send a message; append it and the completion to the conversation unless that is empty."""
    sent: list[Message] = [*messages, {"role": "user", "content": text}]
    answer = _answer(client, sent, arguments)
    if answer:
        messages[:] = [*sent, {"role": "assistant", "content": answer}]


def _answer(client: Client, messages: list[Message], arguments: argparse.Namespace) -> str:
    """Write a completion as it arrives and return its text; Ctrl-C ends it early."""
    pieces: list[str] = []
    if is_typed() and not arguments.json:
        sys.stdout.write(bold(MODEL, sys.stdout))
        sys.stdout.flush()
    with client.stream(messages=messages, **sampling(arguments)) as stream:
        with contextlib.suppress(KeyboardInterrupt):
            for piece in stream:
                pieces.append(piece)
                if not arguments.json:
                    write(piece)
        reason = stream.finish_reason or "stopped"
    text = "".join(pieces)
    write(json.dumps({"text": text, "finish_reason": reason}) + "\n" if arguments.json else "\n")
    if arguments.usage and stream.completion:
        note(usage_line(stream.completion), always=True)
    elif reason not in ("stop", "stopped"):
        note(f"[{reason}]")
    return text
