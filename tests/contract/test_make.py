# SPDX-License-Identifier: Apache-2.0
"""Every `make ...` that a message or a document tells is a target of the Makefile."""

import re
import subprocess

import pytest

from serving.tritonserver import ROOT

TARGETS = set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
# As a command and not as a word: between backticks or quotes, at a line's begin, after "run" and the like, or
# with a variable.
COMMAND = re.compile(
    r"(?:`|\brun |\bor |with: |ready: |^[ \t$]*)make (?!some\b)([\w.-]+)|\bmake ([\w.-]+) [A-Z_]+=",
    re.MULTILINE,
)
FILES = subprocess.run(
    ["git", "ls-files", "*.py", "*.md", "*.sh", "Dockerfile", "*.yaml", "*.toml", "docker/*", ".ci/*"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
).stdout.split()


def told(text):
    """Return the targets that a text tells to make."""
    return {name.rstrip(".") for pair in COMMAND.findall(text) for name in pair if name}


def test_commands_are_told_from_words():
    text = "run make .venv\n`make demo`: make serve ENGINE_DIR=x. Does it make sense?\nmake bench"
    text += " or make some room"
    assert told(text) == {".venv", "demo", "serve", "bench"}


# This file's own examples are none to follow.
@pytest.mark.parametrize("file", [file for file in FILES if file != "tests/contract/test_make.py"])
def test_what_is_told_to_make_is_a_target(file):
    assert told((ROOT / file).read_text()) <= TARGETS
