# SPDX-License-Identifier: Apache-2.0
"""Reading of one tool call's JSON, {"name": "...", "arguments": {...}}, of which only a beginning is there.

What is read depends on the text alone, not on how much of it is there: a text that was understood, or found
to be no call, stays that with whatever follows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import NamedTuple

MAX_HEAD = 65536  # characters: a call whose name comes later is text
MAX_TAIL = 256
ARGUMENTS = ("arguments", "parameters")
KEYS = ("name", *ARGUMENTS, "id", "type")
SPACE = re.compile(r"[ \t\r\n]*")
STRING = re.compile(r'"[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*"')
WITHIN_STRING = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
NO_STRUCTURE = re.compile(r'[^"{}\[\]]*')
# What may follow the arguments: other keys, such as Mistral's id, and the end of the object.
TAIL = re.compile(rf"[ \t\r\n]*(?:,\s*{STRING.pattern}\s*:\s*{STRING.pattern}\s*)*\}}")


class Unfinished(Exception):
    """The text may go on as a call: more of it must come."""


class NoCall(Exception):
    """However the text goes on, it is no call."""


class Head(NamedTuple):
    """The beginning of a call. end: where it ends in the text, before the arguments. arguments: all of them
    where they came before the name; else they follow. ends_object: whether the whole object was read."""

    name: str
    end: int
    arguments: str = ""
    ends_object: bool = False


def read_head(text: str, names: Collection[str]) -> Head:
    """Return the beginning of a call of one of the tools. Raise Unfinished or NoCall."""
    try:
        return _Reader(text[:MAX_HEAD]).head(names)
    except Unfinished:
        if len(text) >= MAX_HEAD:
            raise NoCall from None
        raise


def read_tail(text: str) -> int:
    """Return where the object ends that goes on behind its arguments. Raise Unfinished or NoCall."""
    found = TAIL.match(text[:MAX_TAIL])
    if found:
        return found.end()
    first = text[_after_space(text, 0) :][:1]
    if first not in ("", ",", "}") or len(text) >= MAX_TAIL:
        raise NoCall
    raise Unfinished


class ObjectEnd:
    """Finds the end of a JSON object whose text comes in pieces, by its brackets and strings alone."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = self._is_escaped = False

    def find(self, text: str) -> int | None:
        """Return where the object ends in the next piece; None if it goes on."""
        at = 1 if self._is_escaped and text else 0
        self._is_escaped = self._is_escaped and not text
        while at < len(text):
            if self._in_string:
                at = _end(WITHIN_STRING, text, at)
                self._is_escaped = text[at:] == "\\"
                if at == len(text) or self._is_escaped:
                    return None
                self._in_string = False
            else:
                at = _end(NO_STRUCTURE, text, at)
                self._note(text[at : at + 1])
                if not self._depth:
                    return at + 1
            at += 1
        return None

    def _note(self, character: str) -> None:
        if character == '"':
            self._in_string = True
        elif character:
            self._depth += 1 if character in "{[" else -1


class _Reader:
    """A place in a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def head(self, names: Collection[str]) -> Head:
        self._take("{")
        name = arguments = ""
        while True:
            key = self._key()
            if key in ARGUMENTS:
                if name:
                    self._expect("{")
                    return Head(name, self._at)
                arguments = self._object()
            else:
                value = self._string()
                if key == "name":
                    name = value
                    if name not in names:
                        raise NoCall
            if self._next() == "}":
                self._at += 1
                if not name:
                    raise NoCall
                return Head(name, self._at, arguments or "{}", ends_object=True)
            self._take(",")

    def _next(self) -> str:
        """Return the next character that is no space. Raise Unfinished if there is none yet."""
        self._at = _after_space(self._text, self._at)
        if self._at == len(self._text):
            raise Unfinished
        return self._text[self._at]

    def _expect(self, character: str) -> None:
        if self._next() != character:
            raise NoCall

    def _take(self, character: str) -> None:
        self._expect(character)
        self._at += 1

    def _key(self) -> str:
        """Return the next key. Of a key that calls do not have, the beginning is enough."""
        self._expect('"')
        begun = self._text[self._at + 1 :]
        if not any(f'{key}"'.startswith(begun[: len(key) + 1]) for key in KEYS):
            raise NoCall
        key = self._string()
        self._take(":")
        return key

    def _string(self) -> str:
        self._expect('"')
        found = STRING.match(self._text, self._at)
        if not found:
            raise Unfinished
        self._at = found.end()
        try:
            return str(json.loads(found.group()))
        except ValueError:  # of an escape that JSON has not
            raise NoCall from None

    def _object(self) -> str:
        self._expect("{")
        end = ObjectEnd().find(self._text[self._at :])
        if end is None:
            raise Unfinished
        found = self._text[self._at : self._at + end]
        self._at += end
        return found


def _after_space(text: str, at: int) -> int:
    return _end(SPACE, text, at)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Return where a match ends, of a pattern that matches everywhere."""
    found = pattern.match(text, at)
    assert found
    return found.end()
