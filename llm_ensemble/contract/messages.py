# SPDX-License-Identifier: Apache-2.0
"""The `messages` field: from its JSON text to a checked conversation.

The schema is what OpenAI's and transformers' clients send for text. Other keys than role and content are
kept, because a template may read them.
"""

from __future__ import annotations

import difflib
from typing import Any

from llm_ensemble.contract.content import SHOWN, Message, check_content, kind_of, read_json
from llm_ensemble.contract.tool_messages import CALLS, read_calls
from llm_ensemble.errors import RequestError

KEYS = ("role", "content")
STRINGS = ("name", "tool_call_id")  # if they are there
SHAPE = 'an array of {"role": "...", "content": "..."}'


def parse_messages(text: str) -> list[Message]:
    """Return a checked conversation. Raise RequestError, which counts items from 0.

    Keys that are null are left out: clients send back an answer's keys, used or not.
    """
    items = read_json("messages", text, SHAPE)
    if not isinstance(items, list):
        raise _wrong(f"got {kind_of(items)}, must be {SHAPE}")
    if not items:
        raise _wrong("got an empty array, must have at least one message")
    return [_checked(f"item {number}", item) for number, item in enumerate(items)]


def _checked(place: str, item: Any) -> Message:
    if not isinstance(item, dict):
        raise _wrong(f"{place} is {kind_of(item)}, must be an object with role and content")
    if item.get("function_call"):
        raise _wrong(f"{place} has function_call; send tool_calls, which took its place")
    if item.get(CALLS) is not None and item[CALLS] != []:
        item = {**item, CALLS: read_calls(place, item[CALLS])}
        if item.get("content") is None:  # beside calls there may be none; templates expect a text
            item["content"] = ""
    for key in KEYS:
        if key not in item:
            raise _wrong(f"{place} {_missing(item, key)}")
    _check_string(place, "role", item["role"])
    for key in STRINGS:
        if item.get(key) is not None:
            _check_string(place, key, item[key])
    if item.get(CALLS) and item["role"] != "assistant":
        raise _wrong(f"{place}: role is {item['role'][:SHOWN]!r}, but only an assistant has {CALLS}")
    check_content(place, item["content"])
    left_out = [key for key in (CALLS, "function_call") if not item.get(key)]
    return {key: value for key, value in item.items() if value is not None and key not in left_out}


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
