# SPDX-License-Identifier: Apache-2.0
"""The content of a message: a string, or parts as OpenAI's and transformers' clients send them.

A part is {"type": "text", "text": "..."}. Many chat templates take strings alone: they fail on a list, or
write it as Python does. Others write the first part alone for some roles, as Mistral Small's and Llama 4's do
of the system's. So each template is tried with two parts, to see which it writes, and no text is lost.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from llm_ensemble.errors import RequestError

Content = str | list[dict[str, str]]
Message = dict[str, Any]  # role and content, and what else the template reads
PART = '{"type": "text", "text": "..."}'
BETWEEN_PARTS = "\n"  # as vLLM joins them
SHOWN = 40  # characters of a caller's own word that a message repeats
KINDS = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
FIRST, SECOND = "first-part", "second-part"
QUOTED = re.compile(f"['\"](?:{FIRST}|{SECOND})['\"]")  # how a list is written that was taken for a text


class Reads(enum.IntEnum):
    """What a template reads of content in parts."""

    STRINGS = 0  # none of their texts: it takes strings alone
    FIRST_PART = 1
    PARTS = 2


def kind_of(value: Any) -> str:
    """Return what a JSON value is, for an error message."""
    return KINDS.get(type(value), "a number")


def read_json(field: str, text: str, shape: str) -> Any:
    """Return the value of a JSON text. Raise RequestError with the byte and the shape that is expected."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        # msgspec says at which byte, except of a text that ends too early.
        reason = str(error).removeprefix("JSON is malformed: ")
        if "byte" not in reason:
            reason = f"{reason} (at byte {len(text.encode())})"
        raise RequestError(field, f"not JSON: {reason}; send {shape}") from error
    except RecursionError as error:
        raise RequestError(field, f"nested too deeply, must be {shape}") from error


def check_content(place: str, content: Any) -> None:
    """Raise RequestError when the content is neither a string nor an array of text parts."""
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise _wrong(f"{place}: content is {kind_of(content)}, must be a string or an array of {PART}")
    if not content:
        raise _wrong(f"{place}: content is an empty array, must have at least one {PART}")
    for number, part in enumerate(content):
        _check_part(f"{place}: part {number}", part)


def _check_part(place: str, part: Any) -> None:
    if not isinstance(part, dict):
        raise _wrong(f"{place} is {kind_of(part)}, must be {PART}")
    kind = part.get("type")
    if not isinstance(kind, str):
        raise _wrong(f"{place} has no type, must be {PART}")
    if kind != "text":
        raise _wrong(f"{place} has type {kind[:SHOWN]!r}; this server takes text alone, as {PART}")
    if not isinstance(part.get("text"), str):
        raise _wrong(f"{place} has no text, must be {PART}")
    for key in part:
        if key not in ("type", "text"):
            raise _wrong(f"{place} has the unknown key {key[:SHOWN]!r}; leave it out")


def as_read(content: Content, reads: Reads) -> Content:
    """Return checked content so that a template that reads so much writes all its texts."""
    if isinstance(content, str) or reads is Reads.PARTS:
        return content
    text = BETWEEN_PARTS.join(part["text"] for part in content)
    return text if reads is Reads.STRINGS else [{"type": "text", "text": text}]


def try_parts(render: Callable[[list[Message]], str], role: str) -> Reads:
    """Return what a template writes of a `role`'s parts. One that raises anything reads strings."""
    return next(filter(None, (_written(render, trial) for trial in _trials(role))), Reads.STRINGS)


def _written(render: Callable[[list[Message]], str], conversation: list[Message]) -> Reads:
    try:
        text = render(conversation)
    except Exception:  # a stranger's program; it may also refuse this order of roles
        return Reads.STRINGS
    if FIRST not in text or QUOTED.search(text):
        return Reads.STRINGS
    return Reads.PARTS if SECOND in text else Reads.FIRST_PART


def _trials(role: str) -> Iterator[list[Message]]:
    """Yield conversations with parts, in role orders of templates; the first that renders decides."""
    parts = [{"type": "text", "text": text} for text in (FIRST, SECOND)]
    tried, user = {"role": role, "content": parts}, {"role": "user", "content": "x"}
    yield [tried]
    yield [tried, user]
    yield [user, tried]


def _wrong(problem: str) -> RequestError:
    return RequestError("messages", problem)
