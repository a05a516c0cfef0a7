# SPDX-License-Identifier: Apache-2.0
"""The `messages` field: from its JSON text to a checked conversation. Knows no template."""

from __future__ import annotations

import difflib
from typing import Any

import msgspec

from llm_ensemble.errors import RequestError

Message = dict[str, str]  # role and content
KEYS = ("role", "content")
SHAPE = 'an array of {"role": "...", "content": "..."}'
KINDS = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
SHOWN = 40  # characters of a caller's own word that a message repeats


def parse_messages(text: str) -> list[Message]:
    """Read and check a conversation; items are counted from 0. Raises RequestError, naming what is wrong."""
    items = _decode(text)
    if not isinstance(items, list):
        raise _wrong(f"got {_kind(items)}, must be {SHAPE}")
    if not items:
        raise _wrong("got an empty array, must have at least one message")
    for number, item in enumerate(items):
        _check(number, item)
    return items


def _decode(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        # msgspec says at which byte, except of a text that ends too early.
        reason = str(error).removeprefix("JSON is malformed: ")
        if "byte" not in reason:
            reason = f"{reason} (at byte {len(text.encode())})"
        raise _wrong(f"not JSON: {reason}; send {SHAPE}") from error
    except RecursionError as error:
        raise _wrong(f"nested too deeply, must be {SHAPE}") from error


def _check(number: int, item: Any) -> None:
    if not isinstance(item, dict):
        raise _wrong(f"item {number} is {_kind(item)}, must be an object with role and content")
    for key in item:
        if key not in KEYS:
            near = difflib.get_close_matches(key[:SHOWN], KEYS, n=1)
            advice = f"did you mean {near[0]}?" if near else "a message has role and content"
            raise _wrong(f"item {number} has the unknown key {key[:SHOWN]!r}; {advice}")
    for key in KEYS:
        if key not in item:
            raise _wrong(f"item {number} has no {key}; a message has role and content")
        if not isinstance(item[key], str):
            raise _wrong(f"item {number}: {key} is {_kind(item[key])}, must be a string")


def _kind(value: Any) -> str:
    return KINDS.get(type(value), "a number")


def _wrong(problem: str) -> RequestError:
    return RequestError("messages", problem)
