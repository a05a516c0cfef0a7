# SPDX-License-Identifier: Apache-2.0
"""The guide of a request whose tool_choice forces calls: a JSON schema of them, whatever the model's format.

The text is then a JSON array of {"name": ..., "arguments": {...}}, in that order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_ensemble.contract.guide import GUIDE, TYPE, Guide, read_guide
from llm_ensemble.contract.guides.guide_grammar import grammar_of
from llm_ensemble.contract.request_fields import RequestFields
from llm_ensemble.contract.tools import NAMED, Tool, Tools, read_tools
from llm_ensemble.errors import RequestError

NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}
DEFINITIONS = "$defs"
NAMES_OF_SCHEMAS = ("properties", "patternProperties", "dependentSchemas", DEFINITIONS, "definitions")
VALUES = ("const", "enum", "default", "examples")  # no schemas below


def guide_of(fields: RequestFields) -> Guide | None:
    """Return the guide of a request: its own, or that of its tools. Raise RequestError if there are both."""
    own, tools = read_guide(fields), read_tools(fields)
    if tools is None or not tools.is_forced:
        if not fields.parallel_tool_calls and tools and tools.choice != "none":
            raise RequestError(
                "parallel_tool_calls",
                "false needs tool_choice required; with auto take the first call of the text",
            )
        return own
    if own:
        raise RequestError(
            TYPE if fields.guided_decoding_guide_type else GUIDE,
            "does not go with a tool_choice that forces calls; send one of them",
        )
    _check_parameters(tools)
    schema = calls_schema(tools)
    return Guide("json_schema", msgspec.json.encode(schema).decode(), field="tool_choice")


def _check_parameters(tools: Tools) -> None:
    """Raise RequestError with the name of a tool and the place in its parameters, as they were sent."""
    for tool in _called(tools):
        try:
            grammar_of(Guide("json_schema", msgspec.json.encode(_own_parameters(tool)).decode()))
        except RequestError as error:
            name = tool["function"]["name"]
            raise RequestError("tools", f"{name}: parameters: {error.problem}") from None


def calls_schema(tools: Tools) -> dict[str, Any]:
    """Return the schema of the calls that a request forces: at least one; of a named tool one."""
    called = _called(tools)
    calls = [_call_schema(tool) for tool in called]
    definitions = {
        tool["function"]["name"]: parameters
        for tool in called
        if (parameters := _parameters(tool)) and _refers(parameters)
    }
    schema = {"type": "array", "items": calls[0] if len(calls) == 1 else {"anyOf": calls}, "minItems": 1}
    if tools.choice == NAMED or not tools.is_parallel:
        schema["maxItems"] = 1
    return {**schema, DEFINITIONS: definitions} if definitions else schema


def _called(tools: Tools) -> list[Tool]:
    return [one for one in tools.items if tools.choice != NAMED or one["function"]["name"] == tools.name]


def _call_schema(tool: Tool) -> dict[str, Any]:
    name = tool["function"]["name"]
    return {
        "type": "object",
        "properties": {"name": {"const": name}, "arguments": _parameters(tool)},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _parameters(tool: Tool) -> dict[str, Any]:
    """Return the schema of a tool's arguments, whose references hold within the whole schema."""
    schema: dict[str, Any] = _moved(_own_parameters(tool), f"#/{DEFINITIONS}/{tool['function']['name']}")
    return {"type": "object", **schema} if "$ref" not in schema else schema


def _own_parameters(tool: Tool) -> dict[str, Any]:
    parameters: dict[str, Any] = tool["function"].get("parameters") or NO_PARAMETERS
    return parameters


def _moved(schema: Any, root: str) -> Any:
    """Return a schema whose references to its own root point to another place."""
    if isinstance(schema, list):
        return [_moved(one, root) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _moved_value(key, value, root) for key, value in schema.items()}


def _moved_value(key: str, value: Any, root: str) -> Any:
    if key == "$ref" and isinstance(value, str) and value.startswith("#"):
        return root + value[1:]
    if key in VALUES:
        return value
    if key in NAMES_OF_SCHEMAS and isinstance(value, Mapping):
        return {name: _moved(one, root) for name, one in value.items()}
    return _moved(value, root)


def _refers(schema: Any) -> bool:
    """Return whether a schema, or any below it, refers to another."""
    if isinstance(schema, list):
        return any(map(_refers, schema))
    return isinstance(schema, dict) and ("$ref" in schema or any(map(_refers, schema.values())))
