# SPDX-License-Identifier: Apache-2.0
"""What a text must match: OpenAI's response_format, and vLLM's fields for the same, as the contract's two."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from openai_frontend.api.field_types import Described, shown
from openai_frontend.api.reading import Body
from openai_frontend.errors import refusal

TYPE, GUIDE = "guided_decoding_guide_type", "guided_decoding_guide"
FORMATS = ("text", "json_object", "json_schema")
KEYS = ("name", "description", "schema", "strict")  # of json_schema
# vLLM's names of the contract's guides.
KINDS = {"json": "json_schema", "regex": "regex", "choice": "choice", "grammar": "ebnf_grammar"}
ANY_JSON = "json_object"
SCHEMA = {"type": ["object", "boolean", "string"], "description": "A JSON schema, or its text."}
CHOICES = {"type": "array", "items": {"type": "string"}, "minItems": 1}
TEXT = {"type": "string", "minLength": 1}
SHAPES = {"json": SCHEMA, "regex": TEXT, "choice": CHOICES, "grammar": TEXT}


class Guided(Described):
    """A field that says what the text must match: what its value is in the contract is `guide`."""

    def guide(self, value: Any) -> dict[str, str]:
        """Return the contract's fields, none for what asks for nothing. Raise ValueError."""
        raise NotImplementedError

    def check(self, value: Any) -> dict[str, str] | None:
        """Return the contract's fields, or None. Raise ValueError with what is wrong."""
        return None if value is None else self.guide(value)


class ResponseFormat(Guided):
    """OpenAI's. Whether it is strict or not, the text matches."""

    def guide(self, value: Any) -> dict[str, str]:
        """Return the contract's fields, none for text. Raise ValueError."""
        kind = value.get("type") if isinstance(value, dict) else None
        if kind not in FORMATS:
            raise ValueError(f"got {shown(value)}, must be an object with a type of {', '.join(FORMATS)}")
        needed = {"type", "json_schema"} if kind == "json_schema" else {"type"}
        if value.keys() != needed:
            other = ", ".join(sorted(needed.symmetric_difference(value)))
            raise ValueError(
                f"with the type {kind} it has {' and '.join(sorted(needed))}; check {other[:200]}"
            )
        if kind == "text":
            return {}
        return _of_json_schema(value["json_schema"]) if kind == "json_schema" else {TYPE: "json"}

    def schema(self) -> dict[str, Any]:
        """Return the three formats as JSON schema."""
        named = {"name": {"type": "string"}, "description": {"type": ["string", "null"]}}
        named |= {"schema": {"type": "object"}, "strict": {"type": ["boolean", "null"]}}
        schema = _object(named, "name", "schema")
        formats = [_object({"type": {"enum": ["text", "json_object"]}}, "type")]
        formats += [_object({"type": {"const": "json_schema"}, "json_schema": schema}, "type", "json_schema")]
        return {"anyOf": [*formats, {"type": "null"}], "description": "What the text must match."}


@dataclass(frozen=True)
class OneGuide(Guided):
    """vLLM's guided_json and its like; kind: of KINDS."""

    kind: str

    def guide(self, value: Any) -> dict[str, str]:
        """Return the contract's fields. Raise ValueError."""
        return {TYPE: KINDS[self.kind], GUIDE: _guide_text(self.kind, value)}

    def schema(self) -> dict[str, Any]:
        """Return the type as JSON schema."""
        return {"anyOf": [SHAPES[self.kind], {"type": "null"}]}


class StructuredOutputs(Guided):
    """vLLM's newer form: an object with one of the kinds."""

    def guide(self, value: Any) -> dict[str, str]:
        """Return the contract's fields. Raise ValueError."""
        given = {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else {}
        (kind, *others) = given or [""]
        if others or kind not in (*KINDS, ANY_JSON):
            raise ValueError(f"must be an object with one of {', '.join((*KINDS, ANY_JSON))}")
        if kind == ANY_JSON:
            if given[kind] is not True:
                raise ValueError(f"got {shown(given[kind])}, json_object must be true")
            return {TYPE: "json"}
        return OneGuide(kind).guide(given[kind])

    def schema(self) -> dict[str, Any]:
        """Return the kinds as JSON schema."""
        kinds = [_object({kind: shape}, kind) for kind, shape in SHAPES.items()]
        return {"anyOf": [*kinds, _object({ANY_JSON: {"const": True}}, ANY_JSON), {"type": "null"}]}


class GuidedBody(Body):
    """The fields of both calls, of which one may be sent."""

    response_format: Annotated[Any, ResponseFormat()] = Field(None)
    # Of vLLM's server; of the second kind until its release 0.11.
    structured_outputs: Annotated[Any, StructuredOutputs()] = None
    guided_json: Annotated[Any, OneGuide("json")] = None
    guided_regex: Annotated[Any, OneGuide("regex")] = None
    guided_choice: Annotated[Any, OneGuide("choice")] = None
    guided_grammar: Annotated[Any, OneGuide("grammar")] = None

    def guide(self) -> tuple[dict[str, str], Mapping[str, str]]:
        """Return the contract's fields, and what they are called in what was sent. Raise ApiError."""
        sent = {name: getattr(self, name) for name in GuidedBody.model_fields if getattr(self, name)}
        if not sent:
            return {}, {}
        (name, fields), *others = sent.items()
        if others:
            raise refusal(others[0][0], f"does not go with {name}; send one of them")
        return fields, {TYPE: name, GUIDE: name}


def _of_json_schema(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not isinstance(value.get("schema"), dict):
        raise ValueError("json_schema must be an object with a schema, which is an object")
    if unknown := value.keys() - {*KEYS}:
        raise ValueError(f"json_schema has {', '.join(KEYS)}, not {', '.join(sorted(unknown))[:200]}")
    if not isinstance(value.get("name"), str) or not value["name"]:
        raise ValueError("json_schema.name is missing; it must be a string")
    if not isinstance(value.get("strict"), bool | None):
        raise ValueError(f"got {shown(value['strict'])}, json_schema.strict must be true or false")
    return {TYPE: "json_schema", GUIDE: json.dumps(value["schema"], ensure_ascii=False)}


def _guide_text(kind: str, value: Any) -> str:
    if kind == "choice":
        if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
            raise ValueError(f"got {shown(value)}, must be an array of strings, and not empty")
        return json.dumps(value, ensure_ascii=False)
    if kind == "json" and isinstance(value, dict | bool):
        return json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str) or not value:
        raise ValueError(f"got {shown(value)}, must be {'a JSON schema' if kind == 'json' else 'a string'}")
    return value


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    closed = {"additionalProperties": False, "required": [*required]}
    return {"type": "object", "properties": properties, **closed}
