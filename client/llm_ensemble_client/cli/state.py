# SPDX-License-Identifier: Apache-2.0
"""Files of the chat, of mode 0600: the typed lines and the last conversation."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from llm_ensemble_client.cli.terminal import note
from llm_ensemble_client.errors import UsageError
from llm_ensemble_client.request import Message

MAX_LINES = 1000


def state_folder() -> Path:
    """Return llm-ensemble/ in $XDG_STATE_HOME or ~/.local/state (XDG Base Directory Specification)."""
    given = os.environ.get("XDG_STATE_HOME", "")
    root = given if os.path.isabs(given) else os.path.expanduser("~/.local/state")
    return Path(root) / "llm-ensemble"


def save_conversation(messages: Sequence[Message]) -> None:
    """Save the conversation, replacing the last. If that fails, write a note."""
    try:
        folder = _make_folder(state_folder())
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:  # mode 0600
            json.dump([dict(message) for message in messages], file)
        os.replace(file.name, folder / "conversation.json")
    except OSError as error:
        note(f"[the conversation is not saved: {error}]")


def load_conversation() -> list[Message]:
    """Return the last conversation. Raise UsageError if there is none."""
    path = state_folder() / "conversation.json"
    return read_messages(path, "--continue: no conversation to continue")


def read_messages(path: str | Path, problem: str) -> list[Message]:
    """Return the messages of a JSON file. Raise UsageError, beginning with `problem`, if it is malformed."""
    try:
        messages = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise UsageError(f"{problem}: {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{problem}: {path} is not JSON: {error}") from error
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
        raise UsageError(f'{problem}: {path} is not a list like [{{"role": "user", "content": "..."}}]')
    return messages


@contextlib.contextmanager
def line_history(is_saved: bool) -> Iterator[None]:
    """Give input() line editing during the block; with `is_saved`, also load and save the typed lines."""
    try:
        import readline
    except ImportError:  # not every Python has it
        yield
        return
    path = state_folder() / "history"
    with contextlib.suppress(OSError):
        if is_saved:
            readline.read_history_file(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if is_saved:
                _make_folder(path.parent)
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
                readline.set_history_length(MAX_LINES)
                readline.write_history_file(path)


def _make_folder(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
