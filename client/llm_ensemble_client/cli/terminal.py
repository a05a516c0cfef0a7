# SPDX-License-Identifier: Apache-2.0
"""Output to a terminal or a pipe: colours, notes, tables."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TextIO

from llm_ensemble_client.response import Completion

DIM, BOLD, PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[0m"


def has_colours(file: TextIO) -> bool:
    """Return whether to write colours to the file (no-color.org)."""
    return file.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def is_typed() -> bool:
    """Return whether standard input is a terminal; sys.stdin is None if it was closed."""
    return sys.stdin is not None and sys.stdin.isatty()


def dim(text: str, file: TextIO) -> str:
    """Return the text, dimmed if the file has colours."""
    return f"{DIM}{text}{PLAIN}" if has_colours(file) else text


def bold(text: str, file: TextIO) -> str:
    """Return the text, bold if the file has colours."""
    return f"{BOLD}{text}{PLAIN}" if has_colours(file) else text


def write(text: str, file: TextIO | None = None) -> None:
    """Write and flush. On a terminal, replace control characters, which a model may generate."""
    file = file or sys.stdout
    if file.isatty():
        text = "".join(c if c in "\n\t" or c.isprintable() else "\ufffd" for c in text)
    file.write(text)
    file.flush()


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows as aligned lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(others, widths[1:]))]
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)


def note(text: str, always: bool = False) -> None:
    """Write a line to standard error if that is a terminal, or with `always`."""
    if always or sys.stderr.isatty():
        sys.stderr.write(dim(text, sys.stderr) + "\n")
        sys.stderr.flush()


def usage_line(completion: Completion) -> str:
    """Return a line with the finish reason and the numbers of tokens."""
    return (
        f"[{completion.finish_reason}; {completion.num_input_tokens} tokens in, "
        f"{completion.num_output_tokens} out]"
    )
