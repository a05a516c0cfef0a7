# SPDX-License-Identifier: Apache-2.0
"""The fields `tools` and `tool_choice`: what the model may call, and whether it must."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llm_ensemble.contract.content import SHOWN, kind_of, read_json
from llm_ensemble.contract.request_fields import RequestFields
from llm_ensemble.errors import RequestError

NONE, AUTO, REQUIRED, NAMED = "none", "auto", "required", "named"
MAX_TOOLS = 128  # OpenAI's
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
SHAPE = 'an array of {"type": "function", "function": {"name": "...", "parameters": {...}}}'
CHOICES = 'none, auto, required, or {"type": "function", "function": {"name": "..."}}'
OPTIONAL = (  # of a function
    ("description", str, "a string"),
    ("parameters", dict, "a JSON schema"),
    ("strict", bool, "true or false"),
)
Tool = dict[str, Any]  # with "type" and "function", as it was sent


class Tools(msgspec.Struct, frozen=True):
    """The tools of a request, checked. choice: of the four above. name: of the tool that must be called.
    is_parallel: whether there may be several calls in one answer."""

    items: list[Tool]
    choice: str = AUTO
    name: str = ""
    is_parallel: bool = True

    @property
    def names(self) -> list[str]:
        """The name of each."""
        return [tool["function"]["name"] for tool in self.items]

    @property
    def shown(self) -> list[Tool] | None:
        """What the chat template gets. With `none`, nothing: the model does not call what it does not see."""
        return None if self.choice == NONE else self.items

    @property
    def is_forced(self) -> bool:
        """Whether the answer must be calls, and nothing else."""
        return self.choice in (REQUIRED, NAMED)


def read_tools(fields: RequestFields) -> Tools | None:
    """Return the tools of a request, None for a request without any. Raise RequestError."""
    items = parse_tools(fields.tools) if fields.tools else []
    choice, name = _read_choice(fields.tool_choice)
    if not items:
        if choice in (REQUIRED, NAMED):
            raise _wrong_choice("there are no tools; send them with it")
        return None
    tools = Tools(items, choice, name, fields.parallel_tool_calls)
    if name and name not in tools.names:
        raise _wrong_choice(f"there is no tool {name[:SHOWN]!r}; the tools are {', '.join(tools.names)}")
    if fields.messages is None:
        raise _wrong(f"belongs to messages; leave it out, or send messages instead of {fields.prompt_field}")
    return tools


def parse_tools(text: str) -> list[Tool]:
    """Return checked tools. Raise RequestError, which counts items from 0."""
    items = read_json("tools", text, SHAPE)
    if not isinstance(items, list):
        raise _wrong(f"got {kind_of(items)}, must be {SHAPE}")
    if len(items) > MAX_TOOLS:
        raise _wrong(f"got {len(items)} tools, at most {MAX_TOOLS} are allowed")
    names: set[str] = set()
    for number, item in enumerate(items):
        _check(f"item {number}", item)
        name = item["function"]["name"]
        if name in names:
            raise _wrong(f"item {number}: there is another function {name!r}")
        names.add(name)
    return items


def _check(place: str, item: Any) -> None:
    if not isinstance(item, dict):
        raise _wrong(f"{place} is {kind_of(item)}, must be an object with type and function")
    kind = item.get("type")
    if kind != "function":
        got = "no type" if kind is None else f"type {str(kind)[:SHOWN]!r}"
        raise _wrong(f"{place} has {got}; only functions are served, with type 'function'")
    function = item.get("function")
    if not isinstance(function, dict):
        raise _wrong(f"{place}: function is {kind_of(function)}, must be an object with a name")
    name = function.get("name")
    if name is None:
        raise _wrong(f"{place}: function has no name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        got = repr(name[:SHOWN]) if isinstance(name, str) else kind_of(name)
        raise _wrong(f"{place}: name is {got}, must be 1 to 64 of letters, digits, and _ . -")
    for key, type_, words in OPTIONAL:
        if not isinstance(function.get(key), type_ | None):
            raise _wrong(f"{place}: {key} is {kind_of(function[key])}, must be {words}")


def _read_choice(text: str) -> tuple[str, str]:
    """Return the choice, and the name of the tool that it names."""
    if text in ("", AUTO):
        return AUTO, ""
    if text in (NONE, REQUIRED):
        return text, ""
    if not text.lstrip().startswith(("{", '"', "[")):
        return NAMED, text
    choice = read_json("tool_choice", text, CHOICES)
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(choice, dict) or choice.get("type") != "function" or not isinstance(name, str):
        raise _wrong_choice(f"got {text[:SHOWN]}, must be {CHOICES}")
    return NAMED, name


def _wrong(problem: str) -> RequestError:
    return RequestError("tools", problem)


def _wrong_choice(problem: str) -> RequestError:
    return RequestError("tool_choice", problem)
