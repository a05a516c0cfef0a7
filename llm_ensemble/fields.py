# SPDX-License-Identifier: Apache-2.0
"""The contract's input fields: name, type, range. From raw values to checked ones, once, at the edge.

Knows no Triton and no tokenizer. The config.pbtxt files declare the same names to Triton; the contract
test holds the two against each other. What depends on the engine or on another field is checked where
both are known, in prompt.py and sampling.py.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm_ensemble.errors import RequestError

Fields = dict[str, Any]  # checked values by field name, absent ones left out

INT32_MAX = 2**31 - 1
# Words are looked for in every piece of text, so their number and length bound what one request may cost.
MOST_WORDS = 64
LONGEST_WORD = 256
LONGEST_NAME = 64  # characters of an unknown name that a message repeats


@dataclass(frozen=True)
class Field:
    """One input: its Triton datatype and what it may be."""

    datatype: str  # BYTES, INT32, UINT64, FP32 or BOOL
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False  # low itself is not allowed
    many: bool = False  # a list of words

    @property
    def allowed(self) -> str:
        """The range in words, for messages."""
        least = f"above {self.low:g}" if self.open_low else f"at least {self.low:g}"
        return least if self.high in (math.inf, INT32_MAX) else f"{least} and at most {self.high:g}"


FIELDS: Mapping[str, Field] = {
    "text_input": Field("BYTES"),
    "messages": Field("BYTES"),
    "max_tokens": Field("INT32", low=1, high=INT32_MAX),
    "min_tokens": Field("INT32", low=0, high=INT32_MAX),
    "min_length": Field("INT32", low=0, high=INT32_MAX),
    "stream": Field("BOOL"),
    "temperature": Field("FP32", low=0, high=100),
    "top_p": Field("FP32", low=0, high=1),
    "min_p": Field("FP32", low=0, high=1),
    "top_k": Field("INT32", low=0, high=INT32_MAX),
    "repetition_penalty": Field("FP32", low=0, high=100, open_low=True),
    "presence_penalty": Field("FP32", low=-2, high=2),
    "frequency_penalty": Field("FP32", low=-2, high=2),
    "length_penalty": Field("FP32", low=-10, high=10),
    "seed": Field("UINT64"),
    "random_seed": Field("UINT64"),
    "beam_width": Field("INT32", low=1, high=INT32_MAX),
    "num_return_sequences": Field("INT32", low=1, high=INT32_MAX),
    "stop_words": Field("BYTES", many=True),
    "bad_words": Field("BYTES", many=True),
    "end_id": Field("INT32", low=-1, high=INT32_MAX),
    "pad_id": Field("INT32", low=0, high=INT32_MAX),
    "ignore_eos": Field("BOOL"),
    "exclude_input_in_output": Field("BOOL"),
    "return_log_probs": Field("BOOL"),
    "deadline_ms": Field("INT32", low=1, high=INT32_MAX),
}


def refuse_unknown(name: str) -> RequestError:
    """The error for a request parameter, by name: no field of that name, or a field that is no parameter."""
    if name in FIELDS:
        return RequestError(name, "sent as a parameter; send it as an input")
    near = [known for known in FIELDS if len(name) > 2 and known.startswith(name)]  # stop is no top_p
    near += difflib.get_close_matches(name[:LONGEST_NAME], FIELDS, n=1)
    advice = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(FIELDS)}"
    return RequestError(_in_a_line(name), f"unknown field; {advice}")


def _in_a_line(name: str) -> str:
    """A caller's own word as a message may repeat it: short, and without what would break the line."""
    escaped = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in name[:LONGEST_NAME]
    )
    return (escaped or '""') + ("..." if len(name) > LONGEST_NAME else "")


def check_field(name: str, raw: list[Any]) -> Any:
    """Turn one input's raw values into a Python value: str, int, float, bool, or a list of str.

    raw: the tensor's values as Python objects, BYTES as bytes. Raises RequestError when the number of
    values, the encoding or the range is wrong.
    """
    field = FIELDS[name]
    if field.many:
        return _words(name, raw)
    if len(raw) != 1:
        raise RequestError(name, f"takes one value, got {len(raw)}")
    if field.datatype == "BYTES":
        return _decode(name, raw[0])
    return _in_range(name, field, raw[0])


def _words(name: str, raw: list[bytes]) -> list[str]:
    """The words that are not empty: an empty one asks for nothing."""
    if len(raw) > MOST_WORDS:
        raise RequestError(name, f"got {len(raw)} strings, at most {MOST_WORDS} are allowed")
    words = [_decode(name, value) for value in raw]
    longest = max(map(len, words), default=0)
    if longest > LONGEST_WORD:
        raise RequestError(name, f"got a string of {longest} characters, at most {LONGEST_WORD} are allowed")
    return [word for word in words if word]


def _decode(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise RequestError(name, f"not UTF-8 (byte {error.start} of {len(value)}); send UTF-8") from error


def _in_range(name: str, field: Field, value: float) -> float:
    # NaN compares false with everything, so the test must be the one that a good value passes.
    if field.low <= value <= field.high and not (field.open_low and value == field.low):
        return value
    raise RequestError(name, f"got {_exactly(field, value)}, must be {field.allowed}")


def _exactly(field: Field, value: float) -> str:
    """A bad number, short unless that would make it a good one: FP32's next after 1 is 1.00000012."""
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{value:.9g}" if field.low <= float(short) <= field.high else short


def one_of(fields: Fields, name: str, alias: str, default: Any) -> tuple[str, Any]:
    """The value of a field that has two names, with the name it came by.

    Raises RequestError when both are there and differ.
    """
    given = [known for known in (name, alias) if known in fields]
    if len(given) == 2 and fields[name] != fields[alias]:
        raise RequestError(
            alias, f"got {fields[alias]}, but {name} is {fields[name]}; they are one field, send one of them"
        )
    return (given[0], fields[given[0]]) if given else (name, default)
