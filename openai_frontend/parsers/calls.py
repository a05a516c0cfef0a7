# SPDX-License-Identifier: Apache-2.0
"""Tool calls in a text that comes in pieces.

The deltas add up to the same however the text was cut. What is no call of a tool that the request has is
content, to the character. A call is one as soon as its name is known and its arguments begin: from then on
these go to the client as they were written, complete JSON or not, and nothing takes them back.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Collection
from enum import Enum, auto

from openai_frontend.parsers.call_json import NoCall, ObjectEnd, Unfinished, read_head, read_tail
from openai_frontend.parsers.delta import ARGUMENTS, CALL, CONTENT, Delta
from openai_frontend.parsers.formats import CallFormat

NAMED = re.compile(r"([A-Za-z0-9_.-]{1,64})(?:\[CALL_ID\][A-Za-z0-9]{1,64})?(?:\[ARGS\])?[ \t\r\n]*(?=\{)")
MAX_NAMED = 256  # characters
BLANK = " \t\r\n"


class _State(Enum):
    START = auto()  # of the text, where a call may begin without its opening
    TEXT = auto()
    OPENED = auto()
    HEAD = auto()
    ARGUMENTS = auto()
    TAIL = auto()
    BETWEEN = auto()  # calls behind one opening
    CLOSING = auto()


class CallParser:
    """The calls of one answer.

    names: of the tools. is_parallel: without it further calls are left out. id_length: see CallFormat.

    Space between the content's end and a call, and behind a call, is left out unless more content follows.
    """

    def __init__(
        self, form: CallFormat, names: Collection[str], *, is_parallel: bool = True, id_length: int = 0
    ) -> None:
        self._form, self._names, self._is_parallel = form, names, is_parallel
        self._id_length = id_length or form.id_length
        self._state = _State.START if form.is_whole_text else _State.TEXT
        self._steps: dict[_State, Callable[[], None]] = {
            _State.START: self._start,
            _State.TEXT: self._text,
            _State.OPENED: self._opened,
            _State.HEAD: self._head,
            _State.ARGUMENTS: self._arguments,
            _State.TAIL: self._tail,
            _State.BETWEEN: self._between,
            _State.CLOSING: self._closing,
        }
        self._rest = ""  # text that no step has taken yet
        self._least = 0  # so long must the rest be to be read
        self._taken = ""  # what was taken of a call that may turn out to be none
        self._space = ""  # behind the content so far
        self._is_behind_call = False  # no content since
        self._in_array = self._is_named = self._is_left_out = False
        self._end = ObjectEnd()
        self._deltas: list[Delta] = []
        self.count = 0  # calls that have begun

    def feed(self, text: str) -> list[Delta]:
        """Add text; return what it means, as far as that is certain."""
        self._rest += text
        if len(self._rest) >= self._least:
            self._read()
        return self._take()

    def flush(self) -> list[Delta]:
        """Return the rest, at the end of the text."""
        self._read()
        self._say(self._taken + self._rest)
        if self._space and not self._is_behind_call:
            self._deltas.append(Delta(CONTENT, self._space))
        self._taken = self._rest = self._space = ""
        return self._take()

    def _read(self) -> None:
        self._least = 0
        try:
            while self._rest:
                try:
                    self._steps[self._state]()
                except NoCall:
                    self._give_back()
        except Unfinished:  # the longer it is, the less often it is read again
            self._least = max(len(self._rest) + 1, len(self._rest) * 65 // 64)

    def _take(self) -> list[Delta]:
        deltas, self._deltas = self._deltas, []
        return deltas

    def _give_back(self) -> None:
        """Take what was no call for text."""
        self._say(self._taken)
        self._taken, self._in_array, self._state = "", False, _State.TEXT

    def _say(self, text: str) -> None:
        """Take text for content; space at its end waits for text behind it."""
        body = text.rstrip(BLANK)
        if body:
            self._deltas.append(Delta(CONTENT, self._space + body))
            self._space, self._is_behind_call = "", False
        self._space += text[len(body) :]

    def _skip(self, length: int) -> None:
        self._taken += self._rest[:length]
        self._rest = self._rest[length:]

    def _next(self) -> str:
        """Return the next character that is no space. Raise Unfinished if there is none yet."""
        self._skip(len(self._rest) - len(self._rest.lstrip(BLANK)))
        if not self._rest:
            raise Unfinished
        return self._rest[0]

    def _finds(self, marker: str) -> bool:
        """Return whether the rest begins with a marker. Raise Unfinished if it may yet."""
        if marker and len(self._rest) < len(marker) and marker.startswith(self._rest):
            raise Unfinished
        return bool(marker) and self._rest.startswith(marker)

    def _start(self) -> None:
        first = self._next()
        if self._finds(self._form.opening):
            self._skip(len(self._form.opening))
        elif first != "{" and not (first == "[" and self._form.has_arrays):
            raise NoCall
        self._state = _State.OPENED

    def _text(self) -> None:
        marker, text = self._form.opening, self._rest
        at = text.find(marker) if marker else -1
        if at >= 0:
            self._say(text[:at])
            self._rest = text[at:]
            self._skip(len(marker))
            self._state = _State.OPENED
            return
        held = next((n for n in range(len(marker) - 1, 0, -1) if text.endswith(marker[:n])), 0)
        self._say(text[: len(text) - held])
        self._rest = text[len(text) - held :]
        raise Unfinished

    def _opened(self) -> None:
        first = self._next()
        if first == "[" and self._form.has_arrays:
            self._skip(1)
            self._in_array = True
        elif first != "{":
            self._named()
            return
        self._state = _State.HEAD

    def _named(self) -> None:
        """Read NAME[ARGS], which arguments follow."""
        rest = self._rest
        if not self._form.has_named or not any(name.startswith(rest[: len(name)]) for name in self._names):
            raise NoCall
        found = NAMED.match(rest[:MAX_NAMED])
        if found and found[1] in self._names:
            self._begin(found[1], found.end())
            self._is_named, self._state = True, _State.ARGUMENTS
            return
        if found or len(rest) >= MAX_NAMED:
            raise NoCall
        raise Unfinished

    def _head(self) -> None:
        head = read_head(self._rest, self._names)
        self._begin(head.name, head.end)
        self._is_named = False
        self._state = _State.ARGUMENTS
        if head.ends_object:
            self._argue(head.arguments)
            self._state = _State.BETWEEN

    def _begin(self, name: str, end: int) -> None:
        """Begin a call, whose arguments begin there."""
        self._rest, self._taken = self._rest[end:], ""
        self._end, self._is_behind_call = ObjectEnd(), True
        self._is_left_out = bool(self.count) and not self._is_parallel
        if not self._is_left_out:
            self._deltas.append(Delta(CALL, name, self.count, new_id(self._id_length)))
            self.count += 1

    def _argue(self, text: str) -> None:
        if text and not self._is_left_out:
            self._deltas.append(Delta(ARGUMENTS, text, self.count - 1))

    def _arguments(self) -> None:
        end = self._end.find(self._rest)
        self._argue(self._rest[:end])
        self._rest = "" if end is None else self._rest[end:]
        if end is not None:
            self._state = _State.TEXT if self._is_named else _State.TAIL

    def _tail(self) -> None:
        self._rest = self._rest[read_tail(self._rest) :]
        self._state = _State.BETWEEN

    def _between(self) -> None:
        first = self._next()
        if self._in_array and first == "]":
            self._rest, self._taken, self._in_array = self._rest[1:], "", False
            self._state = _State.CLOSING
        elif first == ("," if self._in_array else self._form.separator):
            self._skip(1)
            self._state = _State.HEAD
        elif self._in_array:
            raise NoCall
        else:
            self._state = _State.CLOSING

    def _closing(self) -> None:
        if self._form.closing:
            self._next()
            if not self._finds(self._form.closing):
                raise NoCall
            self._rest = self._rest[len(self._form.closing) :]
            self._taken = ""
        self._give_back()


def new_id(length: int) -> str:
    """Return a new id of a call. length: of letters and digits alone; 0 for OpenAI's form."""
    return uuid.uuid4().hex[:length] if length else f"call_{uuid.uuid4().hex[:24]}"
