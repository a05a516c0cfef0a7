# SPDX-License-Identifier: Apache-2.0
"""The grammar of JSON values that no schema describes.

Narrower than JSON where that costs nothing and a model could get lost: white space is at most a line's
indentation, numbers have at most as many digits as every reader takes exactly, and no surrogates are written.
"""

from __future__ import annotations

import json
from typing import Any

from llm_ensemble.contract.guides.grammar import Grammar, literal, repeated

# Within a string: all but quotation mark, backslash, control characters and surrogates.
PLAIN = ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0xD7FF), (0xE000, 0x10FFFF))
PLAIN_CLASS = r"[ !#-\[\]-\uD7FF\uE000-\U0010FFFF]"
ESCAPED = r'"\\" ( ["\\/bfnrt] | "u" ( [0-9a-cefA-CEF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2} ) )'
INTEGER = r'"-"? ("0" | [1-9] [0-9]{0,14})'
FRACTION = r'"." [0-9]{0,5} [1-9]'
NUMBER = rf"{INTEGER} ({FRACTION})? ([eE] [+\-]? [0-9] [0-9]?)?"
TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")


class Values:
    """The rules of JSON values in a grammar."""

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar

    @property
    def space(self) -> str:
        """White space between the parts of a value."""
        return self.grammar.once("space", lambda: r'"" | " " | "\n" [ \t]{0,24}')

    @property
    def escaped(self) -> str:
        """One character of a string, escaped."""
        return self.grammar.once("escaped", lambda: ESCAPED)

    @property
    def comma(self) -> str:
        """What stands between members."""
        return self.grammar.once("comma", lambda: f'{self.space} "," {self.space}')

    @property
    def colon(self) -> str:
        """What stands between a name and its value."""
        return self.grammar.once("colon", lambda: f'{self.space} ":" {self.space}')

    def any_value(self) -> str:
        """Return the rule of any value."""
        return self.grammar.once("value", lambda: " | ".join(self.of_type(name) for name in TYPES))

    def of_type(self, name: str) -> str:
        """Return the rule of any value of a type."""
        bodies = {
            "object": lambda: self.object_of(self.string(), self.any_value(), 0, None, ""),
            "array": lambda: self.array_of([], self.any_value(), 0, None, ""),
            "string": lambda: rf'"\"" {self.string_end}',
            "number": lambda: NUMBER,
            "integer": lambda: INTEGER,
            "boolean": lambda: '"true" | "false"',
            "null": lambda: '"null"',
        }
        return self.grammar.once(f"any_{name}", bodies[name])

    @property
    def string_end(self) -> str:
        """Any further characters of a string and its end; 40 times as fast in xgrammar as char*."""
        # With its escapes written out: by their rule a token behind a pattern takes twice as long (seen).
        name = "string_end"
        return self.grammar.once(name, lambda: rf'"\"" | {PLAIN_CLASS} {name} | {ESCAPED} {name}')

    def char_before(self, rest: str) -> str:
        """Return the part for one character of a string and a rule behind it."""
        return f"{PLAIN_CLASS} {rest} | {self.escaped} {rest}"

    def after_any(self, part: str) -> str:
        """Return the rule of any characters of a string with a part behind them that ends it."""
        rule = self.grammar.new(part)
        return self.grammar.add(rule, f"{part} | {self.char_before(rule)}")

    def string(self) -> str:
        """Return the rule of any string."""
        return self.of_type("string")

    def object_of(self, name: str, value: str, least: int, most: int | None, place: str) -> str:
        """Return the body of an object whose members are all alike."""
        member = self.grammar.new(f"{name} {self.colon} {value}")
        return rf'"{{" {self.members([], member, least, most, place)} "}}"'

    def array_of(self, first: list[str], item: str | None, least: int, most: int | None, place: str) -> str:
        """Return the body of an array; item: what follows the first ones, None for nothing."""
        return f'"[" {self.members(first, item, least, most, place)} "]"'

    def members(self, first: list[str], item: str | None, least: int, most: int | None, place: str) -> str:
        """Return what stands within brackets: the first ones, of which those behind `least` may lack."""
        if most is not None and most < len(first):
            first, item = first[:most], None
        rest = ""
        if item is not None and most != len(first):
            more = None if most is None else most - len(first)
            follow = self.grammar.new(f"{self.comma} {item}")
            if first:
                rest = repeated(follow, max(0, least - len(first)), more, place)
            else:
                count = repeated(follow, max(0, least - 1), None if more is None else more - 1, place)
                rest = f"{item} {count}" if least > 0 else f"({item} {count})?"
        for index in range(len(first) - 1, -1, -1):
            part = f"{first[index]} {rest}" if index == 0 else f"{self.comma} {first[index]} {rest}"
            rest = part if index < least else f"({part})?"
        return f"{self.space} {rest} {self.space}" if rest else self.space


def json_literal(value: Any) -> str:
    """Return the part that matches one value, written as json.dumps writes it."""
    return literal(json.dumps(value, ensure_ascii=False))


def quoted(name: str) -> str:
    """Return the part that matches a string."""
    return json_literal(name)
