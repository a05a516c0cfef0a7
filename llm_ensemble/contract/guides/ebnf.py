# SPDX-License-Identifier: Apache-2.0
"""The check of a grammar's text, in the part of xgrammar's dialect that every engine's library has.

xgrammar itself stops the engine's step at a mistake, overflows its stack at deep brackets, and lets a rule
that can never end lead into text that nothing guides (seen with OpenVINO GenAI 2026.4.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from llm_ensemble.contract.guides.grammar import MAX_COPIES, Unsupported

MAX_BRACKETS = 50  # within each other
ROOT = "root"
_MACROS = ("TagDispatch", "Token", "ExcludeToken", "TokenTagDispatch")
_ESCAPE = r"\\(?:x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)"
_TOKENS = re.compile(
    rf"""(?P<space>[ \t\r\n]+|\#[^\r\n]*)
    | (?P<assign>::=)
    | (?P<string>"(?:[^"\\\r\n]|{_ESCAPE})*")
    | (?P<class>\[\^?(?:[^]\\\r\n]|{_ESCAPE})+\])
    | (?P<name>[A-Za-z_.-][A-Za-z0-9_.-]*)
    | (?P<times>\{{[ ]*\d+[ ]*(?:,[ ]*\d*[ ]*)?\}})
    | (?P<mark>[()|*+?])
    """,
    re.VERBOSE,
)
_CLASS_ITEM = re.compile(rf"(?:{_ESCAPE}|[^\\])", re.DOTALL)
_SIMPLE = {"n": 10, "r": 13, "t": 9, "0": 0, "a": 7, "b": 8, "f": 12, "v": 11, "e": 27}
_IN_STRINGS = set("nrtabfve0\"\\'?xuU")
_IN_CLASSES = _IN_STRINGS | set("^$.*+()[]{}|/-dDsSwW")


@dataclass
class Rule:
    """A rule while it is read. needs: alternatives, each the names of the rules that it cannot do without."""

    line: int
    names: set[str] = field(default_factory=set)
    needs: list[set[str]] = field(default_factory=list)


@dataclass
class _Token:
    kind: str
    text: str
    line: int


def check_grammar(text: str) -> None:
    """Raise Unsupported, with the line, unless the text is a grammar each of whose rules can end."""
    rules = _Parser(_tokens(text)).rules()
    if ROOT not in rules:
        raise Unsupported("", f"must have a rule named {ROOT}")
    for name, rule in rules.items():
        for missing in sorted(rule.names - rules.keys()):
            raise Unsupported(f"line {rule.line}", f"rule {name} names {missing}, which is not defined")
    ending = _ending(rules)
    reached, left = {ROOT}, [ROOT]
    while left:
        name = left.pop()
        if name not in ending:
            raise Unsupported(f"line {rules[name].line}", f"rule {name} can never end")
        left += rules[name].names - reached
        reached |= rules[name].names


def _ending(rules: dict[str, Rule]) -> set[str]:
    """Return the rules that can match some text of finite length."""
    users: dict[str, list[str]] = {}
    for name, rule in rules.items():
        for used in rule.names:
            users.setdefault(used, []).append(name)
    ending: set[str] = set()
    left = [*rules]
    while left:
        name = left.pop()
        if name not in ending and any(needed <= ending for needed in rules[name].needs):
            ending.add(name)
            left += users.get(name, [])
    return ending


def _tokens(text: str) -> Iterator[_Token]:
    position, line = 0, 1
    while position < len(text):
        match = _TOKENS.match(text, position)
        if match is None:
            column = position - text.rfind("\n", 0, position)
            raise Unsupported(
                f"line {line}, column {column}", f"{text[position : position + 20]!r} is no grammar"
            )
        kind = match.lastgroup or ""
        if kind != "space":
            yield _Token(kind, match.group(), line)
        line += match.group().count("\n")
        position = match.end()


class _Parser:
    """Reads rules, and refuses what is outside the dialect."""

    def __init__(self, tokens: Iterator[_Token]) -> None:
        self._tokens = [*tokens]
        self._at = 0
        self._depth = 0
        self._inner: dict[str, Rule] = {}  # brackets with alternatives, as rules

    def rules(self) -> dict[str, Rule]:
        """Return the rules by name."""
        rules: dict[str, Rule] = {}
        while self._at < len(self._tokens):
            name = self._take("name", "the name of a rule")
            if name.text in rules or name.text in _MACROS or name.text in ("true", "false"):
                raise Unsupported(f"line {name.line}", f"rule {name.text} cannot be defined, or not twice")
            if self._at > 1 and self._tokens[self._at - 2].line == name.line:
                raise Unsupported(f"line {name.line}", f"rule {name.text} must begin its line")
            self._take("assign", "::=")
            rule = rules[name.text] = Rule(name.line)
            rule.needs = self._choices(rule)
        return rules | self._inner

    def _peek(self, offset: int = 0) -> _Token:
        at = self._at + offset
        line = self._tokens[-1].line if self._tokens else 1
        return self._tokens[at] if at < len(self._tokens) else _Token("end", "the end", line)

    def _take(self, kind: str, what: str) -> _Token:
        token = self._peek()
        if token.kind != kind:
            raise Unsupported(f"line {token.line}", f"must have {what} where {token.text!r:.40} is")
        self._at += 1
        return token

    def _is_mark(self, text: str) -> bool:
        return self._peek().kind == "mark" and self._peek().text == text

    def _choices(self, rule: Rule) -> list[set[str]]:
        """Return what each alternative needs."""
        needs = [self._sequence(rule)]
        while self._is_mark("|"):
            self._at += 1
            needs.append(self._sequence(rule))
        return needs

    def _sequence(self, rule: Rule) -> set[str]:
        needs: set[str] = set()
        count = 0
        while self._begins_element():
            needs |= self._element(rule)
            count += 1
        if not count:
            token = self._peek()
            raise Unsupported(
                f"line {token.line}", f'must have a part where {token.text!r:.40} is; "" is nothing'
            )
        return needs

    def _begins_element(self) -> bool:
        token = self._peek()
        if token.kind == "name":
            return self._peek(1).kind != "assign"
        return token.kind in ("string", "class") or self._is_mark("(")

    def _element(self, rule: Rule) -> set[str]:
        token = self._peek()
        self._at += 1
        needs: set[str] = set()
        if token.kind == "name":
            if token.text in _MACROS or token.text in ("true", "false"):
                raise Unsupported(f"line {token.line}", f"{token.text} is not supported")
            rule.names.add(token.text)
            needs = {token.text}
        elif token.kind == "string":
            _check_escapes(token, _IN_STRINGS)
        elif token.kind == "class":
            _check_class(token)
        else:
            needs = self._bracket(rule, token)
        return set() if self._may_lack() else needs

    def _bracket(self, rule: Rule, token: _Token) -> set[str]:
        self._depth += 1
        if self._depth > MAX_BRACKETS:
            raise Unsupported(f"line {token.line}", f"brackets within each other, at most {MAX_BRACKETS}")
        choices = self._choices(rule)
        if not self._is_mark(")"):
            raise Unsupported(f"line {self._peek().line}", f"must have ) where {self._peek().text!r:.40} is")
        self._at += 1
        self._depth -= 1
        if len(choices) == 1:
            return choices[0]
        name = f"({self._at})"  # as no rule of the text is named
        self._inner[name] = Rule(token.line, set().union(*choices), choices)
        rule.names.add(name)
        return {name}

    def _may_lack(self) -> bool:
        """Take the quantifier that follows, if one does; return whether it allows nothing."""
        token = self._peek()
        if token.kind == "mark" and token.text in "*+?":
            self._at += 1
            return token.text != "+"
        if token.kind == "times":
            self._at += 1
            bounds = [int(bound) for bound in re.findall(r"\d{1,9}", token.text)]
            if max(bounds) > MAX_COPIES or bounds != sorted(bounds) or len(token.text) > 40:
                raise Unsupported(
                    f"line {token.line}", f"{token.text:.40} must be in order, at most {MAX_COPIES}"
                )
            return bounds[0] == 0
        return False


def _check_escapes(token: _Token, allowed: set[str]) -> None:
    for char in re.findall(r"\\(.)", token.text):
        if char not in allowed:
            raise Unsupported(f"line {token.line}", f"\\{char} is no escape in {token.text:.40}")


def _check_class(token: _Token) -> None:
    """Raise Unsupported for a range of a class whose ends are in the wrong order."""
    _check_escapes(token, _IN_CLASSES)
    items = _CLASS_ITEM.findall(token.text[1:-1].removeprefix("^"))
    for first, dash, last in zip(items, items[1:], items[2:]):
        if dash == "-" and first != "-" and _point(first) > _point(last):
            raise Unsupported(f"line {token.line}", f"{first}-{last} is no range, in {token.text:.40}")


def _point(item: str) -> int:
    if item[0] != "\\":
        return ord(item)
    return int(item[2:], 16) if item[1] in "xuU" and len(item) > 2 else _SIMPLE.get(item[1], ord(item[1]))
