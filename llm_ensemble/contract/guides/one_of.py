# SPDX-License-Identifier: Apache-2.0
"""Whether no value is valid by two branches of a oneOf, so that any of them is right."""

from __future__ import annotations

import itertools
import json
from typing import Any

from llm_ensemble.contract.guides.grammar import Unsupported
from llm_ensemble.contract.guides.schema_parts import COMBINED, Schema, types_of


def check_apart(branches: list[Schema], place: str) -> None:
    """Raise Unsupported unless each two differ in type, in values, or in a required member's values."""
    for one, other in itertools.combinations(branches, 2):
        if not _are_apart(one, other, place):
            raise Unsupported(
                place,
                "is supported where two branches cannot both be valid: of other types, or other constants "
                "for a member that both require; send anyOf",
            )


def _are_apart(one: Schema, other: Schema, place: str) -> bool:
    values = [_values(branch) for branch in (one, other)]
    if values[0] is not None and values[1] is not None:
        return not (values[0] & values[1])
    # Without its type named a schema is valid for every other type.
    if any(name in branch for branch in (one, other) for name in COMBINED if name not in ("const", "enum")):
        return False
    kinds = [_kinds(branch, place) for branch in (one, other)]
    if not (kinds[0] & kinds[1]):
        return True
    return kinds[0] == kinds[1] == {"object"} and any(
        _differ(one, other, name) for name in _required(one, other)
    )


def _kinds(branch: Schema, place: str) -> set[str]:
    if (values := _values(branch)) is not None and "type" not in branch:
        return {_kind(json.loads(value)) for value in values}
    if "type" not in branch:
        return set(types_of({}, place))
    return {"number" if name == "integer" else name for name in types_of(branch, place)}


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    return {int: "number", float: "number", str: "string", list: "array", dict: "object"}[type(value)]


def _values(schema: Any) -> set[str] | None:
    """Return the only values of a schema as JSON; None if it does not list them."""
    if not isinstance(schema, dict):
        return None
    listed = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(listed, list):
        return None
    # As numbers are equal, not as they are written.
    return {json.dumps(float(v) if type(v) is int else v, sort_keys=True) for v in listed}


def _required(one: Schema, other: Schema) -> set[str]:
    names = [branch.get("required", []) for branch in (one, other)]
    return (
        set(map(str, names[0])) & set(map(str, names[1]))
        if all(isinstance(n, list) for n in names)
        else set()
    )


def _differ(one: Schema, other: Schema, name: str) -> bool:
    """Return whether a member that both require has other values in each."""
    members = [branch.get("properties", {}) for branch in (one, other)]
    if not all(isinstance(member, dict) for member in members):
        return False
    values = [_values(member.get(name)) for member in members]
    return values[0] is not None and values[1] is not None and not (values[0] & values[1])
