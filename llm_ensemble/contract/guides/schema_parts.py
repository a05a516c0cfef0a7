# SPDX-License-Identifier: Apache-2.0
"""What a JSON schema may have: keywords, references, and the merge of two schemas into one."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from llm_ensemble.contract.guides.grammar import Unsupported
from llm_ensemble.contract.guides.json_values import TYPES

Schema = dict[str, Any]

ANNOTATIONS = frozenset(
    [
        "title",
        "description",
        "default",
        "examples",
        "example",
        "deprecated",
        "readOnly",
        "writeOnly",
        "$comment",
        "$schema",
        "$defs",
        "definitions",
        "contentMediaType",
        "contentEncoding",
    ]
)
COMBINED = ("$ref", "const", "enum", "anyOf", "oneOf", "allOf")
KEYWORDS = {
    "object": ["properties", "required", "additionalProperties", "minProperties", "maxProperties"],
    "array": ["items", "prefixItems", "minItems", "maxItems"],
    "string": ["minLength", "maxLength", "pattern", "format"],
    "number": ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
}
ASSERTIONS = frozenset(["type", *(name for names in KEYWORDS.values() for name in names)])
# Where nothing is combined, these say what those do.
_UNEVALUATED = {"unevaluatedProperties": "additionalProperties", "unevaluatedItems": "items"}
# Read in the light of each other, so that one of them may not come from another schema than the other.
_TOGETHER = (("properties", "additionalProperties"), ("prefixItems", "items"))


def check_keywords(schema: Schema, place: str) -> None:
    """Raise Unsupported for the first keyword that would not be kept to."""
    for name, value in schema.items():
        if name in ANNOTATIONS or name in COMBINED or name in ASSERTIONS or name in _UNEVALUATED:
            continue
        if name == "uniqueItems" and value is False:  # says nothing
            continue
        raise Unsupported(f"{place}/{escaped(name)}", "is not supported; leave it out")
    multiple = schema.get("multipleOf", 1)
    if (
        isinstance(multiple, bool)
        or multiple != 1
        or ("multipleOf" in schema and schema.get("type") != "integer")
    ):
        raise Unsupported(f"{place}/multipleOf", "is not supported; leave it out")


def settled(schema: Schema) -> Schema:
    """Return a schema whose keywords for unevaluated values are those for others, unless it combines some."""
    if any(name in schema for name in COMBINED):
        return schema
    for name, meant in _UNEVALUATED.items():
        if name in schema:
            others = {key: value for key, value in schema.items() if key != name}
            schema = {meant: schema[name], **others}  # by its own keyword for others, all are evaluated
    return schema


def types_of(schema: Schema, place: str) -> list[str]:
    """Return the types that a value may have: as the schema says, or else those that its keywords are for."""
    named = schema.get("type")
    if named is None:
        meant = [name for name, words in KEYWORDS.items() if any(word in schema for word in words)]
        return meant or [name for name in TYPES if name != "integer"]
    named = [named] if isinstance(named, str) else named
    if not isinstance(named, list) or not named:
        raise Unsupported(f"{place}/type", "must be the name of a type, or some")
    for name in named:
        if name not in TYPES:
            raise Unsupported(f"{place}/type", f"got {name!r:.40}, must be one of {', '.join(TYPES)}")
    return named


def count(schema: Schema, name: str, place: str) -> int | None:
    """Return a keyword that counts something; None without it."""
    value = schema.get(name)
    if value is None and name not in schema:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != int(value):
        raise Unsupported(f"{place}/{name}", f"got {value!r:.40}, must be a whole number, at least 0")
    return int(value)


def schemas(schema: Schema, name: str, place: str) -> list[Any]:
    """Return a keyword that is a list of schemas; empty without it."""
    value = schema.get(name, [])
    if not isinstance(value, list) or (name in schema and not value):
        raise Unsupported(f"{place}/{name}", "must be an array of schemas, one at least")
    return value


def resolve(root: Any, reference: Any, place: str) -> Any:
    """Return the schema that a reference names. Raise Unsupported unless it is within the same guide."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        raise Unsupported(f"{place}/$ref", f"got {reference!r:.60}, must be within the schema: #/$defs/...")
    found = root
    for step in reference.split("/")[1:]:
        step = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        elif isinstance(found, dict) and step in found:
            found = found[step]
        else:
            raise Unsupported(f"{place}/$ref", f"got {reference!r:.60}, which is not in the schema")
    return found


def escaped(name: str) -> str:
    """Return a name as a step of a JSON pointer, shortened."""
    return name.replace("~", "~0").replace("/", "~1")[:60]


def merged(one: Schema, other: Schema, place: str) -> Schema:
    """Return a schema that asks for what two ask for. Raise Unsupported where it takes more than one."""
    one = {name: value for name, value in one.items() if name not in ANNOTATIONS}
    other = {name: value for name, value in other.items() if name not in ANNOTATIONS}
    for first, second in ((one, other), (other, one)):
        for name, beside in _TOGETHER:
            if name in first and beside in second and first.get(beside) != second[beside]:
                raise Unsupported(f"{place}/{beside}", f"is not supported in another schema than {name}")
    result = {**one, **other}
    for name in one.keys() & other.keys():
        if one[name] == other[name]:
            continue
        if name == "required" and isinstance(one[name], list) and isinstance(other[name], list):
            result[name] = [*one[name], *other[name]]
        elif name == "properties" and _are_apart(one[name], other[name]):
            result[name] = {**one[name], **other[name]}
        else:
            raise Unsupported(f"{place}/{escaped(name)}", "is not supported in two schemas at once")
    if sum(name in result for name in COMBINED) > 1:
        raise Unsupported(place, "more than one of " + ", ".join(COMBINED) + " at once is not supported")
    return result


def _are_apart(one: Any, other: Any) -> bool:
    """Return whether two values of `properties` have no name in common."""
    return isinstance(one, dict) and isinstance(other, dict) and not (one.keys() & other.keys())
