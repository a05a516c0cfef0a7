# SPDX-License-Identifier: Apache-2.0
"""The input fields of the contract: name, datatype and range, and the check of one input.

The config.pbtxt files declare the same names to Triton; a contract test compares the two. What depends on
another field or on the engine is checked where both are known: request_fields.py, sampling.py and
preprocessing.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm_ensemble.contract.unserved import UNSERVED
from llm_ensemble.errors import RequestError

INT32_MAX = 2**31 - 1
# Words are searched in every piece of text, so their number and length bound the cost of one request.
MAX_WORDS = 64
MAX_WORD_LENGTH = 256
FILL_UP = -1  # max_tokens: as many as fit
MAX_NAME_LENGTH = 64  # characters of an unknown name that a message repeats


@dataclass(frozen=True)
class Field:
    """One input: its Triton datatype and its range; `special`: a value outside of it, and its meaning."""

    datatype: str  # BYTES, INT32, UINT64, FP32 or BOOL
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False  # the range excludes low itself
    many: bool = False  # a list, of words, token ids or numbers
    keeps_empty: bool = False  # a list's empty words, to which another list belongs
    special: int | None = None
    meaning: str = ""

    @property
    def allowed(self) -> str:
        """The range in words, for error messages."""
        least = f"above {self.low:g}" if self.open_low else f"at least {self.low:g}"
        special = "" if self.special is None else f", or {self.special} for {self.meaning}"
        most = "" if self.high in (math.inf, INT32_MAX) else f" and at most {self.high:g}"
        return f"{least}{most}{special}"


FIELDS: Mapping[str, Field] = {
    "text_input": Field("BYTES"),
    "messages": Field("BYTES"),
    "tools": Field("BYTES"),
    "tool_choice": Field("BYTES"),
    "parallel_tool_calls": Field("BOOL"),
    "input_ids": Field("INT32", low=0, high=INT32_MAX, many=True),
    "add_special_tokens": Field("BOOL"),
    "add_generation_prompt": Field("BOOL"),
    "continue_final_message": Field("BOOL"),
    "max_tokens": Field("INT32", low=1, high=INT32_MAX, special=FILL_UP, meaning="as many as fit"),
    "min_tokens": Field("INT32", low=0, high=INT32_MAX),
    "min_length": Field("INT32", low=0, high=INT32_MAX),
    "stream": Field("BOOL"),
    "temperature": Field("FP32", low=0, high=100),
    "top_p": Field("FP32", low=0, high=1),
    "min_p": Field("FP32", low=0, high=1),
    "top_k": Field("INT32", low=-1, high=INT32_MAX),
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
    "logit_bias": Field("BYTES"),
    "embedding_bias_words": Field("BYTES", many=True, keeps_empty=True),
    "embedding_bias_weights": Field("FP32", low=-100, high=100, many=True),
    "guided_decoding_guide_type": Field("BYTES"),
    "guided_decoding_guide": Field("BYTES"),
    "lora_name": Field("BYTES"),
    "lora_task_id": Field("UINT64"),  # NVIDIA's: the adapter whose name is this number
    "end_id": Field("INT32", low=-1, high=INT32_MAX),
    "pad_id": Field("INT32", low=0, high=INT32_MAX),  # NVIDIA's clients send it; nothing is padded
    "ignore_eos": Field("BOOL"),
    "exclude_input_in_output": Field("BOOL"),
    "skip_special_tokens": Field("BOOL"),
    "return_log_probs": Field("BOOL"),
    "top_log_probs": Field("INT32", low=0, high=20),
    "deadline_ms": Field("INT32", low=1, high=INT32_MAX),
}


def refuse_unknown(name: str) -> RequestError:
    """Return the error for a request parameter: there is no such field, or it must be sent as an input."""
    if name in FIELDS or name in UNSERVED:
        return RequestError(name, "sent as a parameter; send it as an input")
    near = [known for known in FIELDS if len(name) > 2 and known.startswith(name)]  # stop is no top_p
    near += difflib.get_close_matches(name[:MAX_NAME_LENGTH], FIELDS, n=1)
    advice = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(FIELDS)}"
    return RequestError(_in_a_line(name), f"unknown field; {advice}")


def _in_a_line(name: str) -> str:
    """Return a client's text as a message may repeat it: short, in one line."""
    escaped = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in name[:MAX_NAME_LENGTH]
    )
    return (escaped or '""') + ("..." if len(name) > MAX_NAME_LENGTH else "")


def check_field(name: str, raw: list[Any]) -> Any:
    """Return the value of one input: str, int, float, bool, or a list of str, int or float.

    raw: the tensor's values as Python objects, BYTES as bytes. Raise RequestError for a wrong number of
    values, encoding or range.
    """
    field = FIELDS[name]
    if field.many:
        return _list(name, field, raw)
    if len(raw) != 1:
        raise RequestError(name, f"takes one value, got {len(raw)}")
    if field.datatype == "BYTES":
        return _decode(name, raw[0])
    return _in_range(name, field, raw[0])


def _list(name: str, field: Field, raw: list[Any]) -> list[Any]:
    if field.datatype == "BYTES":
        return _words(name, field, raw)
    return _ids(name, field, raw) if field.datatype == "INT32" else _numbers(name, field, raw)


def _words(name: str, field: Field, raw: list[bytes]) -> list[str]:
    """Return the words that are not empty, unless all are kept: an empty one has no effect."""
    if len(raw) > MAX_WORDS:
        raise RequestError(name, f"got {len(raw)} strings, at most {MAX_WORDS} are allowed")
    words = [_decode(name, value) for value in raw]
    longest = max(map(len, words), default=0)
    if longest > MAX_WORD_LENGTH:
        raise RequestError(
            name, f"got a string of {longest} characters, at most {MAX_WORD_LENGTH} are allowed"
        )
    return [word for word in words if word or field.keeps_empty]


def _numbers(name: str, field: Field, raw: list[float]) -> list[float]:
    if len(raw) > MAX_WORDS:
        raise RequestError(name, f"got {len(raw)} numbers, at most {MAX_WORDS} are allowed")
    return [_in_range(name, field, value) for value in raw]


def _ids(name: str, field: Field, raw: list[int]) -> list[int]:
    if not raw:
        raise RequestError(name, "empty; send at least one token id")
    if min(raw) < field.low:
        raise RequestError(name, f"got {min(raw)}, must be {field.allowed}")
    return raw


def _decode(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise RequestError(name, f"not UTF-8 (byte {error.start} of {len(value)}); send UTF-8") from error


def _in_range(name: str, field: Field, value: float) -> float:
    # NaN compares false with everything, so the test is for a good value.
    if field.low <= value <= field.high and not (field.open_low and value == field.low):
        return value
    if value == field.special:
        return value
    raise RequestError(name, f"got {_exactly(field, value)}, must be {field.allowed}")


def _exactly(field: Field, value: float) -> str:
    """Return a bad number in few digits, but not so few that it looks good: after 1 FP32 has 1.00000012."""
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{value:.9g}" if field.low <= float(short) <= field.high else short
