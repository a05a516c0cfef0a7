# SPDX-License-Identifier: Apache-2.0
"""From the arguments of a call to the contract's fields, checked as far as the client must.

Names and types are checked here, because a tensor needs both and because Triton's HTTP front answers a wrong
type with 500 and cuts integers to 32 bits. Ranges are the server's: it knows its engine and its limits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, TypedDict

from client.errors import InvalidRequest
from llm_ensemble.fields import FIELDS, INT32_MAX, refuse_unknown

Fields = dict[str, Any]  # checked values by field name, absent ones left out; words as a list of str
Message = Mapping[str, str]  # role and content

LIMITS = {"INT32": (-INT32_MAX - 1, INT32_MAX), "UINT64": (0, 2**64 - 1)}
FP32_MAX = 3.4028234e38


class Sampling(TypedDict, total=False):
    """Every keyword of generate() and stream(). None is as good as leaving it out.

    Without temperature, top_p, top_k and min_p a request is greedy. What the values may be, and what the
    server does without one, is the table "The contract" in README.md.
    """

    max_tokens: int | None  # tokens of the answer; the engine's default, 128 unless built otherwise
    min_tokens: int | None
    min_length: int | None  # another name of min_tokens
    temperature: float | None  # 0 to 100; 0 is greedy
    top_p: float | None  # 0 to 1; default 1
    min_p: float | None  # 0 to 1; default 0
    top_k: int | None  # default 0: all tokens
    repetition_penalty: float | None  # above 0; default 1
    presence_penalty: float | None  # -2 to 2; default 0
    frequency_penalty: float | None  # -2 to 2; default 0
    length_penalty: float | None  # default 1
    seed: int | None  # drawn for each request unless given
    random_seed: int | None  # another name of seed
    beam_width: int | None  # default 1
    num_return_sequences: int | None
    stop_words: Sequence[str] | None  # neither they nor what follows is returned; a string is one word
    bad_words: Sequence[str] | None
    end_id: int | None  # token id
    pad_id: int | None  # token id
    ignore_eos: bool | None  # default False
    exclude_input_in_output: bool | None  # default True
    return_log_probs: bool | None  # default False
    deadline_ms: int | None  # milliseconds; the text so far is returned then, with finish_reason "timeout"


def build_fields(
    prompt: str | None, messages: Sequence[Message] | None, sampling: Mapping[str, Any]
) -> Fields:
    """The fields of one request. Raises InvalidRequest, naming what cannot be sent."""
    if (prompt is None) == (messages is None):
        raise _wrong("text_input", "give a prompt or messages, one of them")
    for name in sampling:
        if name in ("text_input", "messages", "stream"):
            raise _wrong(
                name, "is no keyword: give the prompt first, messages by name, and call stream() to stream"
            )
        if name not in FIELDS:
            raise InvalidRequest(str(refuse_unknown(name)), name)
    given = {"text_input": prompt, "messages": _as_json(messages), **sampling}
    fields = {name: _check(name, value) for name, value in given.items() if value is not None}
    return {name: value for name, value in fields.items() if value != []}


def _as_json(messages: Sequence[Message] | None) -> str | None:
    if messages is None:
        return None
    try:
        return json.dumps([dict(message) for message in messages], ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise _wrong("messages", f"cannot be written as JSON: {error}") from error


def _check(name: str, value: Any) -> Any:
    field = FIELDS[name]
    if field.many:
        words = [value] if isinstance(value, str) else value
        if not isinstance(words, Sequence):
            raise _wrong(name, f"got {value!r}, must be a list of strings")
        return [_text(name, word) for word in words]
    if field.datatype == "BYTES":
        return _text(name, value)
    if field.datatype == "BOOL":
        if not isinstance(value, bool):
            raise _wrong(name, f"got {value!r}, must be True or False")
        return value
    return _float(name, value) if field.datatype == "FP32" else _integer(name, field.datatype, value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(name, f"got {value!r}, must be a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _wrong(name, f"no UTF-8 can be made of character {error.start}, half of a pair") from error
    return value


def _integer(name: str, datatype: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise _wrong(name, f"got {value!r}, must be an integer")
    value, (low, high) = int(value), LIMITS[datatype]
    if not low <= value <= high:
        raise _wrong(name, f"got {value}, must be at least {low} and at most {high}")
    return value


def _float(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise _wrong(name, f"got {value!r}, must be a number")
    number = float(value)
    if not math.isfinite(number) or abs(number) > FP32_MAX:
        raise _wrong(name, f"got {value}, must be a number that fits 32 bits")
    return number


def _wrong(name: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"{name}: {problem}", name)
