# SPDX-License-Identifier: Apache-2.0
"""The grammar of JSON objects with named members, in the order of the schema."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from llm_ensemble.contract.guides.grammar import Unsupported, char_class, either
from llm_ensemble.contract.guides.json_values import PLAIN, PLAIN_CLASS, Values, quoted
from llm_ensemble.contract.guides.regex import without
from llm_ensemble.contract.guides.strings import spell

MAX_NAME = 200  # characters of a name that others must not be


class Member(NamedTuple):
    """A member of an object. value: the rule for it, None if there must be no such member."""

    name: str
    value: str | None
    is_required: bool


def object_part(members: list[Member], extra: str | None, values: Values, place: str) -> str:
    """Return the rule of an object. extra: the rule of members of other names, None if there are none."""
    grammar = values.grammar
    first, rest = '""', '""'  # what may follow if no member came before, and if one did
    if extra is not None:
        name = _other_names([member.name for member in members], values, place)
        more = grammar.new(f"{name} {values.colon} {extra}")
        rest = grammar.new(f"({values.comma} {more})*")
        first = grammar.new(f"({more} {rest})?")
    for member in reversed(members):
        if member.value is None:
            continue
        one = grammar.new(f"{quoted(member.name)} {values.colon} {member.value}")
        skipped_first, skipped = (None, None) if member.is_required else (first, rest)
        first = grammar.new(either(filter(None, (f"{one} {rest}", skipped_first))))
        rest = grammar.new(either(filter(None, (f"{values.comma} {one} {rest}", skipped))))
    return grammar.new(rf'"{{" {values.space} {first} {values.space} "}}"')


def _other_names(names: Iterable[str], values: Values, place: str) -> str:
    """Return the rule of strings that are none of the names. They are without escapes."""
    tree: dict[str, Any] = {}
    for name in names:
        if len(name) > MAX_NAME:
            raise Unsupported(place, f"names above {MAX_NAME} characters beside others are not supported")
        node = tree
        for char in name:
            node = node.setdefault(char, {})
        node[""] = {}  # a name ends here
    return values.grammar.new(rf'"\"" {_none_of(tree, values)} "\""')


def _none_of(node: dict[str, Any], values: Values) -> str:
    """Return the part that matches the ends of strings which end at no name."""
    # What cannot stand in a string as it is, no string without escapes has.
    steps = [char for char in node if char and any(low <= ord(char) <= high for low, high in PLAIN)]
    others = char_class(without(PLAIN, [(ord(char), ord(char)) for char in steps]))
    parts = [f"{others} {PLAIN_CLASS}*", *([] if "" in node else ['""'])]
    parts += [f"{spell(char)} {_none_of(node[char], values)}" for char in steps]
    return values.grammar.new(either(parts))
