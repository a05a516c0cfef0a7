# SPDX-License-Identifier: Apache-2.0
"""What a terminal gets and a pipe does not: colours, notes beside the text. And what neither must get."""

from __future__ import annotations

import os
import sys
from typing import TextIO

DIM, BOLD, PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[0m"


def has_colours(file: TextIO) -> bool:
    """Whether to colour what is written there (no-color.org)."""
    return file.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def dim(text: str, file: TextIO) -> str:
    """Of less importance, where colours are seen."""
    return f"{DIM}{text}{PLAIN}" if has_colours(file) else text


def bold(text: str, file: TextIO) -> str:
    """Of more importance, where colours are seen."""
    return f"{BOLD}{text}{PLAIN}" if has_colours(file) else text


def write(text: str, file: TextIO | None = None) -> None:
    """Write at once. A terminal is not given the control characters that a model may write, a pipe is."""
    file = file or sys.stdout
    if file.isatty():
        text = "".join(c if c in "\n\t" or c.isprintable() else "\ufffd" for c in text)
    file.write(text)
    file.flush()


def note(text: str) -> None:
    """A line about the answer, on standard error, for who looks at it."""
    if sys.stderr.isatty():
        sys.stderr.write(dim(text, sys.stderr) + "\n")
        sys.stderr.flush()
