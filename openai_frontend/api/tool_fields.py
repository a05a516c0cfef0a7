# SPDX-License-Identifier: Apache-2.0
"""The fields `tools` and `tool_choice`, checked by the contract, and messages with tool calls."""

from __future__ import annotations

import json
from typing import Any

from llm_ensemble.contract.request_fields import RequestFields
from llm_ensemble.contract.tools import MAX_TOOLS, NAME, Tools, parse_tools, read_tools
from llm_ensemble.errors import RequestError
from openai_frontend.api.field_types import Described, shown
from openai_frontend.errors import refusal

FUNCTION = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "pattern": f"^{NAME.pattern}$"},
        "description": {"type": ["string", "null"]},
        "parameters": {"type": ["object", "null"]},
        "strict": {"type": ["boolean", "null"]},
    },
}
TOOL = {
    "type": "object",
    "required": ["type", "function"],
    "properties": {"type": {"const": "function"}, "function": FUNCTION},
}
NAMED = {
    "type": "object",
    "required": ["type", "function"],
    "properties": {
        "type": {"const": "function"},
        "function": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
    },
}
CALLED = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "arguments": {"type": ["string", "object", "null"]}},
}
CALL = {
    "type": "object",
    "required": ["function"],
    "properties": {
        "id": {"type": ["string", "null"]},
        "type": {"enum": ["function", None]},
        "function": CALLED,
    },
}


class ToolList(Described):
    """The tools, or null."""

    def check(self, value: Any) -> list[dict[str, Any]]:
        """Return the tools. Raise ValueError with what is wrong."""
        if value is None:
            return []
        try:
            return parse_tools(json.dumps(value))
        except RequestError as error:
            raise ValueError(error.problem) from None

    def schema(self) -> dict[str, Any]:
        """Return the type as JSON schema."""
        return {"anyOf": [{"type": "array", "items": TOOL, "maxItems": MAX_TOOLS}, {"type": "null"}]}


class ToolChoice(Described):
    """A word, or a tool by its name, or null."""

    def check(self, value: Any) -> str:
        """Return the choice as the contract has it. Raise ValueError with what is wrong."""
        if value is None or isinstance(value, str):
            return value or ""
        if isinstance(value, dict):
            return json.dumps(value)
        raise ValueError(f"got {shown(value)}, must be none, auto, required, or the object that names a tool")

    def schema(self) -> dict[str, Any]:
        """Return the forms as JSON schema."""
        return {"anyOf": [{"enum": ["none", "auto", "required", None]}, NAMED]}


def tools_of(tools: list[dict[str, Any]], choice: str, is_parallel: bool) -> Tools | None:
    """Return the tools of a request, None for none. Raise ApiError.

    `strict` is a wish to the server: the model is not told of it.
    """
    told = [{**tool, "function": _without_strict(tool["function"])} for tool in tools]
    fields = RequestFields(
        messages="[]", tools=json.dumps(told), tool_choice=choice, parallel_tool_calls=is_parallel
    )
    try:
        return read_tools(fields)
    except RequestError as error:
        raise refusal(error.field, error.problem) from None


def tool_fields(tools: Tools | None) -> dict[str, Any]:
    """Return the contract's fields of tools."""
    if tools is None or tools.shown is None:
        return {}
    fields: dict[str, Any] = {"tools": tools.items}
    if tools.is_forced:
        named = {"type": "function", "function": {"name": tools.name}}
        fields["tool_choice"] = named if tools.name else tools.choice
        if not tools.is_parallel:
            fields["parallel_tool_calls"] = False
    return fields


def _without_strict(function: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in function.items() if key != "strict"}
