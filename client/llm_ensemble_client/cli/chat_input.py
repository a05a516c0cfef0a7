# SPDX-License-Identifier: Apache-2.0
"""Input of a chat: messages and commands typed on a terminal, or one message a line from a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from llm_ensemble_client.cli.terminal import note, write

YOU, MORE = "you> ", "...> "
QUOTES = '"""'
LEAVE = ("/bye", "/exit", "/quit")
HELP = f"""\
/help   show this (also /?)
/clear  forget the conversation so far
/bye    leave (also /exit, /quit or Ctrl-D)
{QUOTES}     begin or end a message of several lines, or one that begins with /
Ctrl-C  stop an answer, or drop what is typed
"""


def typed(clear: Callable[[], None]) -> Iterator[str]:
    """Yield each typed message until /bye or Ctrl-D. /clear calls `clear`."""
    while True:
        try:
            line = input(YOU)  # not coloured: readline counts the prompt's columns
            text = _block(line) if line.startswith(QUOTES) else line
        except EOFError:
            write("\n")
            return
        except KeyboardInterrupt:
            write("\n")
            note("[Ctrl-D or /bye leaves]")
            continue
        if not line.startswith("/"):
            if text.strip():
                yield text
            continue
        word = line.split()[0]
        if word in LEAVE:
            return
        _run_command(word, clear)


def piped() -> Iterator[str]:
    """Yield each line of standard input that is not empty. A pipe has no commands."""
    for line in sys.stdin:
        if line.strip():
            yield line.rstrip("\r\n")


def _block(line: str) -> str:
    """Return the text between triple quotes, reading more lines up to the closing ones."""
    text = line.removeprefix(QUOTES)
    while not text.rstrip().endswith(QUOTES):
        text += "\n" + input(MORE)
    return text.rstrip().removesuffix(QUOTES).strip("\n")


def _run_command(word: str, clear: Callable[[], None]) -> None:
    if word == "/clear":
        clear()
        note("[cleared]")
    elif word in ("/help", "/?"):
        write(HELP)
    else:
        write(
            f"{word} is no command: /help lists them, and {QUOTES} around it sends it as a message\n",
            sys.stderr,
        )
