# SPDX-License-Identifier: Apache-2.0
"""Parts of an EBNF grammar as text, in the dialect of xgrammar, which every engine's library compiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable

MAX_GRAMMAR = 100_000  # characters
MAX_COPIES = 10_000  # of a part that a grammar repeats, nested ones multiplied
EMPTY = '""'
QUOTATION_MARK = r'"\""'
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Unsupported(Exception):
    """What a guide has and the grammar cannot express. place: in the guide, such as a JSON pointer."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(place, problem)
        self.place, self.problem = place, problem

    @property
    def message(self) -> str:
        """The problem and its place."""
        return f"{self.place}: {self.problem}" if self.place else self.problem


def literal(text: str) -> str:
    """Return the part that matches a text."""
    if not text:
        return EMPTY
    return '"' + "".join(_ESCAPES.get(char) or _visible(char) for char in text) + '"'


def _visible(char: str) -> str:
    return char if " " <= char <= "~" else f"\\U{ord(char):08x}"


def char_class(ranges: Iterable[tuple[int, int]]) -> str:
    """Return the part that matches one character within the ranges of code points, both ends included."""
    return "[" + "".join(_range(first, last) for first, last in ranges) + "]"


def _range(first: int, last: int) -> str:
    return _code(first) if first == last else f"{_code(first)}-{_code(last)}"


def _code(point: int) -> str:
    return chr(point) if chr(point).isascii() and chr(point).isalnum() else f"\\U{point:08x}"


def either(parts: Iterable[str]) -> str:
    """Return the part that matches one of several."""
    distinct = list(dict.fromkeys(parts))
    return distinct[0] if len(distinct) == 1 else "(" + " | ".join(distinct) + ")"


def repeated(part: str, least: int, most: int | None, place: str) -> str:
    """Return the part that matches a part several times; most: None for any number.

    An upper bound beyond MAX_COPIES is taken as that, which allows less than was asked for and nothing else.
    """
    if least > MAX_COPIES:
        raise Unsupported(place, f"repeats at least {least} times, {MAX_COPIES} at most is supported")
    if most == 0:
        return EMPTY
    if (least, most) == (1, 1):
        return part
    return f"({part}){{{least},{'' if most is None else min(most, MAX_COPIES)}}}"


class Grammar:
    """The rules of a grammar, by name; each is made once."""

    def __init__(self) -> None:
        self._rules: dict[str, str] = {}
        self._size = 0

    def add(self, name: str, body: str) -> str:
        """Set a rule and return its name. Raise Unsupported if the grammar grows too large."""
        self._rules[name] = body
        self._size += len(body)
        if self._size > MAX_GRAMMAR:
            raise Unsupported("", f"its grammar has over {MAX_GRAMMAR} characters; make it simpler")
        return name

    def new(self, body: str) -> str:
        """Add a rule under a name of its own; return that."""
        return self.add(f"r{len(self._rules)}", body)

    def once(self, name: str, body: Callable[[], str]) -> str:
        """Return the name of a rule, which is made when it is first asked for; it may name itself."""
        if name not in self._rules:
            self._rules[name] = ""
            self.add(name, body())
        return name

    def text(self, root: str) -> str:
        """Return the grammar. Raise Unsupported if something that it needs can never end."""
        rules = "\n".join(f"{name} ::= {body}" for name, body in self._rules.items())
        return f"root ::= {root}\n{rules}\n"
