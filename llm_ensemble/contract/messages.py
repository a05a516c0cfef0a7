# SPDX-License-Identifier: Apache-2.0
"""The `messages` field: from its JSON text to a checked conversation.

The schema is what OpenAI's and transformers' clients send for text. Other keys than role and content are
kept, because a template may read them.
"""

from __future__ import annotations

import difflib
from typing import Any

import msgspec

from llm_ensemble.contract.content import SHOWN, Message, check_content, kind_of
from llm_ensemble.errors import RequestError

KEYS = ("role", "content")
TOOL_KEYS = ("tool_calls", "tool_call_id", "function_call")
SHAPE = 'an array of {"role": "...", "content": "..."}'


def parse_messages(text: str) -> list[Message]:
    """Return a checked conversation. Raise RequestError, which counts items from 0.

    Keys that are null are left out: clients send back an answer's keys, used or not.
    """
    items = _decode(text)
    if not isinstance(items, list):
        raise _wrong(f"got {kind_of(items)}, must be {SHAPE}")
    if not items:
        raise _wrong("got an empty array, must have at least one message")
    return [_checked(f"item {number}", item) for number, item in enumerate(items)]


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


def _checked(place: str, item: Any) -> Message:
    if not isinstance(item, dict):
        raise _wrong(f"{place} is {kind_of(item)}, must be an object with role and content")
    for key in TOOL_KEYS:  # first: beside tool calls content may be null
        if item.get(key):
            raise _wrong(f"{place} has {key}; this server takes no tool calls, leave it out")
    for key in KEYS:
        if key not in item:
            raise _wrong(f"{place} {_missing(item, key)}")
    _check_string(place, "role", item["role"])
    if item.get("name") is not None:
        _check_string(place, "name", item["name"])
    check_content(place, item["content"])
    return {key: value for key, value in item.items() if value is not None and key not in TOOL_KEYS}


def _check_string(place: str, key: str, value: Any) -> None:
    if not isinstance(value, str):
        raise _wrong(f"{place}: {key} is {kind_of(value)}, must be a string")


def _missing(item: dict[str, Any], key: str) -> str:
    """Return that a key is missing, or which key may be a misspelling of it."""
    for other in item:
        if other not in KEYS and difflib.get_close_matches(other[:SHOWN], [key]):
            return f"has the unknown key {other[:SHOWN]!r}; did you mean {key}?"
    return f"has no {key}; a message has role and content"


def _wrong(problem: str) -> RequestError:
    return RequestError("messages", problem)
