# SPDX-License-Identifier: Apache-2.0
"""Regular expressions as grammars, parsed by Python's own parser."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from llm_ensemble.contract.guides.grammar import (
    EMPTY,
    QUOTATION_MARK,
    Unsupported,
    char_class,
    either,
    literal,
    repeated,
)

if sys.version_info >= (3, 11):
    from re import _parser as parser
else:
    import sre_parse as parser

ANY = ((1, 9), (11, 0xD7FF), (0xE000, 0x10FFFF))
EVERY = ((1, 0xD7FF), (0xE000, 0x10FFFF))
DIGITS = [(48, 57)]
SPACES = [(9, 13), (32, 32)]
WORDS = [(48, 57), (65, 90), (95, 95), (97, 122)]
_CLASSES = {"DIGIT": DIGITS, "SPACE": SPACES, "WORD": WORDS}
_ANCHORS = {"AT_BEGINNING": "^", "AT_BEGINNING_STRING": "\\A", "AT_END": "$", "AT_END_STRING": "\\Z"}
# What the constructs that no grammar expresses look like, to find them in the pattern.
_LOOKS: dict[str, str] = {
    "ASSERT": r"\(\?<?=",
    "ASSERT_NOT": r"\(\?<?!",
    "GROUPREF": r"\\[1-9]|\(\?P=",
    "GROUPREF_EXISTS": r"\(\?\(",
    "AT_BOUNDARY": r"\\b",
    "AT_NON_BOUNDARY": r"\\B",
    "ATOMIC_GROUP": r"\(\?>",
    "POSSESSIVE_REPEAT": r"[*+?}]\+",
}
Ranges = list[tuple[int, int]]
Node = tuple[Any, Any]


class Regex:
    """One pattern. place: of the pattern in the guide, for messages.

    alphabet: the code points that may stand in the text. spell: writes a character of the text; by default
    as it is. Within a JSON string some are written as escapes.
    """

    def __init__(
        self,
        pattern: str,
        place: str = "",
        alphabet: Iterable[tuple[int, int]] = EVERY,
        spell: Callable[[str], str] = literal,
    ) -> None:
        self._pattern, self._place = pattern, place
        self._alphabet, self._spell = list(alphabet), spell
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                parsed = parser.parse(pattern)
        except re.error as error:
            at = "" if error.pos is None else f" at position {error.pos}"
            raise Unsupported(place, f"{error.msg}{at} of the regular expression") from None
        except (RecursionError, OverflowError):
            raise Unsupported(place, "the regular expression is nested too deep") from None
        if parsed.state.flags & ~re.UNICODE:
            raise self._error("flags are not supported", r"\(\?[a-zA-Z-]+[:)]")
        self._nodes: list[Node] = parsed.data

    def whole(self) -> str:
        """Return the part for texts that match from end to end."""
        return either(self._sequence(self._trim(branch)[0]) for branch in self._branches())

    def anywhere(self, after_any: Callable[[str], str], rest: str) -> str:
        """Return the part for a JSON string, and its end, that matches somewhere, as JSON Schema has it.

        after_any: puts any characters before a part. rest: the part of any further ones and the end.
        """
        parts = []
        for branch in self._branches():
            nodes, is_begun, is_ended = self._trim(branch)
            part = f"{self._sequence(nodes)} {QUOTATION_MARK if is_ended else rest}"
            parts.append(part if is_begun else after_any(part))
        return either(parts)

    def _branches(self) -> list[list[Node]]:
        """Return the alternatives at the top, where anchors may stand."""
        nodes = self._nodes
        while len(nodes) == 1 and str(nodes[0][0]) == "SUBPATTERN":
            nodes = list(nodes[0][1][3])
        if len(nodes) == 1 and str(nodes[0][0]) == "BRANCH":
            return [list(branch) for branch in nodes[0][1][1]]
        return [nodes]

    def _trim(self, nodes: list[Node]) -> tuple[list[Node], bool, bool]:
        """Return a branch without the anchors at its ends, and whether it had them."""
        begun, ended = self._is_anchor(nodes[:1], "BEGINNING"), self._is_anchor(nodes[-1:], "END")
        return nodes[begun : len(nodes) - (ended and len(nodes) > begun)], begun, ended

    def _is_anchor(self, nodes: list[Node], which: str) -> bool:
        return bool(nodes) and str(nodes[0][0]) == "AT" and which in str(nodes[0][1])

    def _sequence(self, nodes: Iterable[Node]) -> str:
        parts = [self._node(kind, value) for kind, value in nodes]
        return " ".join(parts) if parts else EMPTY

    def _node(self, kind: Any, value: Any) -> str:
        name = str(kind)
        if name == "LITERAL":
            return self._literal(value)
        if name in ("NOT_LITERAL", "IN", "ANY"):
            return self._class(name, value)
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, items = value
            bound = None if most == parser.MAXREPEAT else int(most)
            return repeated(self._sequence(items), least, bound, self._place)
        if name == "SUBPATTERN" and not (value[1] or value[2]):
            return f"({self._sequence(value[3])})"
        if name == "BRANCH":
            return either(self._sequence(branch) for branch in value[1])
        if name == "AT" and str(value) in _ANCHORS:
            raise self._error(
                "an anchor is supported at the ends of the pattern alone", re.escape(_ANCHORS[str(value)])
            )
        what = str(value) if name == "AT" else name
        looks = _LOOKS.get(what, "")
        raise self._error(f"{what.lower().replace('_', ' ')} is not supported", looks)

    def _literal(self, point: int) -> str:
        if not any(first <= point <= last for first, last in [*self._alphabet, (34, 34), (92, 92)]):
            raise Unsupported(self._place, f"the character U+{point:04X} cannot stand in the text")
        return self._spell(chr(point))

    def _class(self, name: str, value: Any) -> str:
        if name == "ANY":
            ranges: Ranges = [*ANY]
        elif name == "NOT_LITERAL":
            ranges = without(EVERY, [(value, value)])
        else:
            ranges = self._ranges(value)
        special = [char for char in '"\\' if not self._is_plain(ord(char)) and _has(ranges, ord(char))]
        plain = _within(ranges, self._alphabet)
        if not plain and not special:
            raise Unsupported(self._place, "a class has no character that can stand in the text")
        return either([*([char_class(plain)] if plain else []), *map(self._spell, special)])

    def _is_plain(self, point: int) -> bool:
        return _has(self._alphabet, point)

    def _ranges(self, items: list[Node]) -> Ranges:
        ranges: Ranges = []
        is_negated = str(items[0][0]) == "NEGATE"
        for kind, value in items[is_negated:]:
            name = str(kind)
            if name == "LITERAL":
                ranges.append((value, value))
            elif name == "RANGE":
                ranges.append(value)
            else:  # \d, \s, \w and what is none of them; the first of ASCII alone, as in JSON Schema
                what = str(value).removeprefix("CATEGORY_")
                members = _CLASSES[what.removeprefix("NOT_")]
                ranges += without(EVERY, members) if what.startswith("NOT_") else members
        return without(EVERY, ranges) if is_negated else ranges

    def _error(self, problem: str, looks: str) -> Unsupported:
        found = re.search(looks, self._pattern) if looks else None
        at = f" (position {found.start()} of the regular expression)" if found else ""
        return Unsupported(self._place, f"{problem}{at}")


def _has(ranges: Iterable[tuple[int, int]], point: int) -> bool:
    return any(first <= point <= last for first, last in ranges)


def _within(ranges: Iterable[tuple[int, int]], bounds: Iterable[tuple[int, int]]) -> Ranges:
    """Return what is in both, in order and joined."""
    found = sorted(
        (max(first, low), min(last, high))
        for first, last in ranges
        for low, high in bounds
        if max(first, low) <= min(last, high)
    )
    joined: Ranges = []
    for first, last in found:
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def without(ranges: Iterable[tuple[int, int]], removed: Ranges) -> Ranges:
    """Return what is in the first and not in the second."""
    left = list(ranges)
    for low, high in removed:
        left = [
            part
            for first, last in left
            for part in ((first, min(last, low - 1)), (max(first, high + 1), last))
            if part[0] <= part[1]
        ]
    return left
