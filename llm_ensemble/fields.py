# SPDX-License-Identifier: Apache-2.0
"""The contract's input fields: name, type, range. From raw values to checked ones, once, at the edge.

Knows no Triton and no tokenizer. The config.pbtxt files declare the same names to Triton; the contract
test holds the two against each other.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm_ensemble.errors import RequestError

INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class Field:
    """One input: its Triton datatype and what it may be. `supported` false: declared, refused by name."""

    datatype: str  # BYTES, INT32, UINT64, FP32 or BOOL
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False  # low itself is not allowed
    many: bool = False  # a list of values
    supported: bool = True

    @property
    def allowed(self) -> str:
        """The range in words, for messages."""
        least = f"above {self.low:g}" if self.open_low else f"at least {self.low:g}"
        return least if self.high in (math.inf, INT32_MAX) else f"{least} and at most {self.high:g}"


def _later(datatype: str, many: bool = False) -> Field:
    return Field(datatype, many=many, supported=False)


FIELDS: Mapping[str, Field] = {
    "text_input": Field("BYTES"),
    "messages": _later("BYTES"),
    "max_tokens": Field("INT32", low=1, high=INT32_MAX),
    "min_tokens": _later("INT32"),
    "min_length": _later("INT32"),
    "stream": Field("BOOL"),
    "temperature": Field("FP32", low=0, high=100),
    "top_p": Field("FP32", low=0, high=1, open_low=True),
    "min_p": _later("FP32"),
    "top_k": Field("INT32", low=0, high=INT32_MAX),
    "repetition_penalty": _later("FP32"),
    "presence_penalty": _later("FP32"),
    "frequency_penalty": _later("FP32"),
    "length_penalty": _later("FP32"),
    "seed": Field("UINT64"),
    "random_seed": _later("UINT64"),
    "beam_width": _later("INT32"),
    "num_return_sequences": _later("INT32"),
    "stop_words": Field("BYTES", many=True),
    "bad_words": _later("BYTES", many=True),
    "end_id": _later("INT32"),
    "pad_id": _later("INT32"),
    "ignore_eos": _later("BOOL"),
    "exclude_input_in_output": Field("BOOL"),
    "return_log_probs": _later("BOOL"),
    "deadline_ms": _later("INT32"),
}


def refuse_unknown(name: str) -> RequestError:
    """The error for a name that is no field, with the nearest one that is."""
    near = difflib.get_close_matches(name, FIELDS, n=1)
    advice = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(FIELDS)}"
    return RequestError(name, f"unknown field; {advice}")


def check_field(name: str, raw: list[Any]) -> Any:
    """Turn one input's raw values into a Python value: str, int, float, bool, or a list of str.

    raw: the tensor's values as Python objects, BYTES as bytes. Raises RequestError when the number of
    values, the encoding or the range is wrong, or when the field is not supported yet.
    """
    field = FIELDS[name]
    if not field.supported:
        raise RequestError(name, "not supported by this version; leave it out")
    if field.many:
        return [_decode(name, value) for value in raw]
    if len(raw) != 1:
        raise RequestError(name, f"takes one value, got {len(raw)}")
    if field.datatype == "BYTES":
        return _decode(name, raw[0])
    return _in_range(name, field, raw[0])


def _decode(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise RequestError(name, f"not UTF-8 (byte {error.start} of {len(value)}); send UTF-8") from error


def _in_range(name: str, field: Field, value: float) -> float:
    # NaN compares false with everything, so the test must be the one that a good value passes.
    if field.low <= value <= field.high and not (field.open_low and value == field.low):
        return value
    raise RequestError(name, f"got {value:g}, must be {field.allowed}")
