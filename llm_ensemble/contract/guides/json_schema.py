# SPDX-License-Identifier: Apache-2.0
"""JSON schemas as grammars.

Every text that the grammar matches is valid by the schema; some valid texts it does not match, such as one
with its members in another order. A keyword that the grammar cannot keep to is refused with its place.
"""

from __future__ import annotations

import json
from typing import Any

from llm_ensemble.contract.guides.grammar import Grammar, Unsupported, either
from llm_ensemble.contract.guides.json_values import Values, json_literal
from llm_ensemble.contract.guides.numbers import bounded_number
from llm_ensemble.contract.guides.objects import Member, object_part
from llm_ensemble.contract.guides.one_of import check_apart
from llm_ensemble.contract.guides.schema_parts import (
    ANNOTATIONS,
    COMBINED,
    Schema,
    check_keywords,
    count,
    escaped,
    merged,
    resolve,
    schemas,
    settled,
    types_of,
)
from llm_ensemble.contract.guides.strings import string_part

MAX_DEPTH = 60  # schemas within each other, and references behind each other


def schema_grammar(text: str) -> str:
    """Return the grammar of a JSON schema. Raise Unsupported, with a JSON pointer, if there is none."""
    return SchemaGrammar(_loaded(text)).text()


def _loaded(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise Unsupported(place, f"is not JSON ({error.msg})") from None
    except (ValueError, RecursionError) as error:
        raise Unsupported("", f"is not JSON that can be read ({error!s:.60})") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


class SchemaGrammar:
    """The grammar of one schema."""

    def __init__(self, root: Any) -> None:
        if isinstance(root, dict):  # its own address, which no reference within it needs
            root = {name: value for name, value in root.items() if name != "$id"}
        self._root = root
        self._grammar = Grammar()
        self._values = Values(self._grammar)
        self._depth = 0

    def text(self) -> str:
        """Return the grammar."""
        return self._grammar.text(self._part(self._root, ""))

    def _part(self, schema: Any, place: str) -> str:
        """Return the part for the values of a schema."""
        if schema is True or schema == {}:
            return self._values.any_value()
        if not isinstance(schema, dict):
            problem = (
                "no value is valid by false" if schema is False else "must be a schema: an object or true"
            )
            raise Unsupported(place, problem)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unsupported(place, f"schemas within each other, at most {MAX_DEPTH}")
        check_keywords(schema, place)
        schema = settled(schema)
        combined = [name for name in COMBINED if name in schema]
        if len(combined) > 1:
            raise Unsupported(f"{place}/{combined[1]}", f"is not supported beside {combined[0]}")
        part = self._combined(combined[0], schema, place) if combined else self._typed(schema, place)
        self._depth -= 1
        return part

    def _combined(self, name: str, schema: Schema, place: str) -> str:
        beside = {key: value for key, value in schema.items() if key != name and key not in ANNOTATIONS}
        if name == "$ref":
            return self._reference(schema, beside, place)
        if name in ("const", "enum"):
            return self._listed(name, schema, beside, place)
        if name == "allOf":
            whole: Schema = beside
            for index, one in enumerate(schemas(schema, name, place)):
                whole = merged(whole, self._resolved(one, f"{place}/allOf/{index}"), f"{place}/allOf/{index}")
            return self._part(whole, place)
        branches = [
            merged(beside, self._resolved(one, f"{place}/{name}/{index}"), f"{place}/{name}/{index}")
            if beside
            else one
            for index, one in enumerate(schemas(schema, name, place))
        ]
        if name == "oneOf":
            check_apart([self._resolved(one, place) for one in branches], f"{place}/oneOf")
        possible = [(i, one) for i, one in enumerate(branches) if one is not False]
        if not possible:
            raise Unsupported(place, "no value is valid by false")
        return either(self._part(one, f"{place}/{name}/{i}") for i, one in possible)

    def _reference(self, schema: Schema, beside: Schema, place: str) -> str:
        if beside:
            raise Unsupported(f"{place}/{escaped(next(iter(beside)))}", "is not supported beside $ref")
        reference = schema["$ref"]
        target = resolve(self._root, reference, place)
        rule = "ref_" + reference.encode().hex()
        return self._grammar.once(rule, lambda: self._part(target, reference.removeprefix("#")))

    def _resolved(self, schema: Any, place: str) -> Schema:
        """Return a schema that is merged with another: behind its references, checked."""
        for _ in range(MAX_DEPTH):
            if schema is True:
                return {}
            if not isinstance(schema, dict):
                raise Unsupported(place, "must be a schema here: an object or true")
            check_keywords(schema, place)
            if "$ref" not in schema:
                return settled(schema)
            if set(schema) - ANNOTATIONS - {"$ref"}:
                raise Unsupported(place, "nothing beside $ref is supported")
            schema = resolve(self._root, schema["$ref"], place)
        raise Unsupported(place, "its references lead nowhere")

    def _listed(self, name: str, schema: Schema, beside: Schema, place: str) -> str:
        listed = [schema[name]] if name == "const" else schema[name]
        if not isinstance(listed, list) or not listed:
            raise Unsupported(f"{place}/{name}", "must be an array of values, one at least")
        others = [key for key in beside if key != "type"]
        if others:
            raise Unsupported(f"{place}/{escaped(others[0])}", f"is not supported beside {name}")
        types = types_of(beside, place)
        fitting = [value for value in listed if any(_has_type(value, one) for one in types)]
        if not fitting:
            raise Unsupported(f"{place}/{name}", "no value of it has the type")
        return self._grammar.new(either(map(json_literal, fitting)))

    def _typed(self, schema: Schema, place: str) -> str:
        return either(self._of_type(name, schema, place) for name in types_of(schema, place))

    def _of_type(self, name: str, schema: Schema, place: str) -> str:
        if name == "object":
            return self._object(schema, place)
        if name == "array":
            return self._array(schema, place)
        if name == "string":
            return string_part(schema, place, self._values)
        if name in ("number", "integer"):
            part = bounded_number(schema, place, is_integer=name == "integer")
            return self._grammar.new(part) if len(part) > 100 else f"({part})"
        return self._values.of_type(name)

    def _object(self, schema: Schema, place: str) -> str:
        properties = schema.get("properties", {})
        if not isinstance(properties, dict):
            raise Unsupported(f"{place}/properties", "must be an object of schemas")
        required = schema.get("required", [])
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise Unsupported(f"{place}/required", "must be an array of names")
        extra = schema.get("additionalProperties", not (properties or required))
        names = dict.fromkeys([*properties, *required])
        members = []
        for name in names:
            at = f"{place}/properties/{escaped(name)}"
            value = properties.get(name, schema.get("additionalProperties", True))
            if value is False and name in required:
                raise Unsupported(
                    f"{place}/required", f"{name!r:.60} is required, and no value of it is valid"
                )
            members.append(Member(name, None if value is False else self._part(value, at), name in required))
        return self._counted_object(members, extra, schema, place)

    def _counted_object(self, members: list[Member], extra: Any, schema: Schema, place: str) -> str:
        least, most = count(schema, "minProperties", place) or 0, count(schema, "maxProperties", place)
        required = sum(member.is_required for member in members)
        if most is not None and (most < required or most < least):
            raise Unsupported(f"{place}/maxProperties", f"got {most}, which leaves no object")
        more = None if extra is False else self._part(extra, f"{place}/additionalProperties")
        if not members and more is not None:
            if least > 1:  # two names may be the same one
                raise Unsupported(f"{place}/minProperties", "is supported up to 1 where names are free")
            body = self._values.object_of(self._values.string(), more, least, most, place)
            return self._grammar.new(body)
        if most is not None and (more is not None or most < len(members)):
            more = None  # what is left are the required members alone, if these are as many as allowed
            members = [member for member in members if member.is_required or most >= len(members)]
        if least > required:
            if least > sum(member.value is not None for member in members):
                raise Unsupported(f"{place}/minProperties", f"got {least}, of which {required} are required")
            members = [member._replace(is_required=member.value is not None) for member in members]
        return object_part(members, more, self._values, place)

    def _array(self, schema: Schema, place: str) -> str:
        least, most = count(schema, "minItems", place) or 0, count(schema, "maxItems", place)
        first = schemas(schema, "prefixItems", place)
        items = schema.get("items", True)
        if isinstance(items, list):
            raise Unsupported(f"{place}/items", "must be one schema; send a list as prefixItems")
        if False in first:
            first, items = first[: first.index(False)], False
        if most is not None and least > most:
            raise Unsupported(f"{place}/minItems", f"got {least}, which is more than maxItems")
        if items is False and least > len(first):
            raise Unsupported(f"{place}/minItems", f"got {least}, and {len(first)} items are allowed")
        parts = [self._part(one, f"{place}/prefixItems/{i}") for i, one in enumerate(first[:most])]
        is_closed = items is False or (most is not None and most <= len(first))
        rest = None if is_closed else self._part(items, f"{place}/items")
        return self._grammar.new(self._values.array_of(parts, rest, least, most, f"{place}/minItems"))


def _has_type(value: Any, name: str) -> bool:
    if value is None or isinstance(value, bool):
        return name == ("null" if value is None else "boolean")
    if isinstance(value, int | float):
        return name == "number" or (name == "integer" and value == int(value))
    return isinstance(value, {"string": str, "array": list, "object": dict}.get(name, ()))
