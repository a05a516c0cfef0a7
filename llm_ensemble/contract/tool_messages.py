# SPDX-License-Identifier: Apache-2.0
"""The tool calls of an assistant's message: checked, and as chat templates read them.

OpenAI's clients send arguments as JSON text, as the model wrote them; transformers' as an object, which is
what chat templates are written for.
"""

from __future__ import annotations

from typing import Any

import msgspec

from llm_ensemble.contract.content import kind_of
from llm_ensemble.errors import RequestError

CALLS = "tool_calls"
SDK_KEYS = ("index", "parsed_arguments")  # what OpenAI's clients add to a call that they were sent
SHAPE = '{"id": "...", "type": "function", "function": {"name": "...", "arguments": "..."}}'


def read_calls(place: str, calls: Any) -> list[dict[str, Any]]:
    """Return a message's tool calls with arguments as objects. Raise RequestError."""
    if not isinstance(calls, list):
        raise _wrong(f"{place}: {CALLS} is {kind_of(calls)}, must be an array of {SHAPE}")
    return [_read_call(f"{place}: {CALLS}: item {number}", call) for number, call in enumerate(calls)]


def _read_call(place: str, call: Any) -> dict[str, Any]:
    if not isinstance(call, dict):
        raise _wrong(f"{place} is {kind_of(call)}, must be {SHAPE}")
    for key in ("id", "type"):
        if not isinstance(call.get(key), str | None):
            raise _wrong(f"{place}: {key} is {kind_of(call[key])}, must be a string")
    if call.get("type") not in (None, "function"):
        raise _wrong(f"{place}: type is {call['type'][:40]!r}; only functions are served")
    function = call.get("function")
    if not isinstance(function, dict):
        raise _wrong(f"{place}: function is {kind_of(function)}, must be an object with name and arguments")
    if not isinstance(function.get("name"), str):
        raise _wrong(f"{place}: name is {kind_of(function.get('name'))}, must be a string")
    function = {**function, "arguments": _read_arguments(place, function.get("arguments"))}
    return {**_as_sent(call), "function": _as_sent(function)}


def _as_sent(value: dict[str, Any]) -> dict[str, Any]:
    return {key: one for key, one in value.items() if key not in SDK_KEYS}


def _read_arguments(place: str, arguments: Any) -> dict[str, Any]:
    if not arguments and isinstance(arguments, str | None):  # of a function without parameters
        return {}
    value = arguments
    if isinstance(arguments, str):
        try:
            value = msgspec.json.decode(arguments)
        except (msgspec.DecodeError, RecursionError) as error:
            raise _wrong(
                f"{place}: arguments are not JSON ({error}); send what the tool got, as JSON"
            ) from error
    if not isinstance(value, dict):
        raise _wrong(f"{place}: arguments are {kind_of(value)}, must be a JSON object")
    return value


def _wrong(problem: str) -> RequestError:
    return RequestError("messages", problem)
