# SPDX-License-Identifier: Apache-2.0
"""What the fields of a request may be: of the contract's ranges, or nothing but what changes nothing.

Each is metadata of a pydantic type, and describes itself in the API's schema.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from llm_ensemble.contract.fields import FIELDS, INT32_MAX, MAX_WORD_LENGTH, MAX_WORDS, check_field
from llm_ensemble.contract.logit_bias import MAX_BIAS, MAX_TOKENS
from llm_ensemble.errors import RequestError

Check = Callable[[Any], Any]  # returns the value; raises ValueError with what is wrong
TOKEN_ID = "^[0-9]{1,10}$"


class Described:
    """Metadata with a check and a schema."""

    def check(self, value: Any) -> Any:
        """Return the value. Raise ValueError with what is wrong."""
        raise NotImplementedError

    def schema(self) -> dict[str, Any]:
        """Return the type's JSON schema."""
        raise NotImplementedError

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        return self.schema()


@dataclass(frozen=True)
class Number(Described):
    """A number of the contract's range, or null. low: a narrower range than that."""

    field: str
    low: float = -math.inf

    @property
    def _is_whole(self) -> bool:
        return FIELDS[self.field].datatype != "FP32"

    def check(self, value: Any) -> Any:
        """Return the value, a float for FP32. Raise ValueError with what is wrong."""
        if value is None:
            return None
        kinds = (int,) if self._is_whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise ValueError(f"got {shown(value)}, must be {'an integer' if self._is_whole else 'a number'}")
        if value < self.low:
            raise ValueError(f"got {shown(value)}, must be at least {self.low:g}")
        return of_contract(self.field, value)

    def schema(self) -> dict[str, Any]:
        """Return the range as JSON schema."""
        field = FIELDS[self.field]
        schema: dict[str, Any] = {"type": ["integer" if self._is_whole else "number", "null"]}
        low = max(field.low, self.low)
        if low > -math.inf:
            schema["exclusiveMinimum" if field.open_low else "minimum"] = _plain(low)
        if field.high < math.inf:
            schema["maximum"] = _plain(field.high)
        return schema


@dataclass(frozen=True)
class Whole(Described):
    """A whole number of a range that the contract does not know, or null."""

    low: int
    high: int

    def check(self, value: Any) -> Any:
        """Return the value. Raise ValueError with what is wrong."""
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"got {shown(value)}, must be an integer")
        if not self.low <= value <= self.high:
            raise ValueError(f"got {shown(value)}, must be at least {self.low} and at most {self.high}")
        return value

    def schema(self) -> dict[str, Any]:
        """Return the range as JSON schema."""
        return {"type": ["integer", "null"], "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True)
class Switch(Described):
    """True, false or null."""

    def check(self, value: Any) -> Any:
        """Return the value. Raise ValueError with what is wrong."""
        if value is None or isinstance(value, bool):
            return value
        raise ValueError(f"got {shown(value)}, must be true or false")

    def schema(self) -> dict[str, Any]:
        """Return the type as JSON schema."""
        return {"type": ["boolean", "null"]}


@dataclass(frozen=True)
class Words(Described):
    """A list of words of the contract, one word, or null."""

    field: str

    def check(self, value: Any) -> Any:
        """Return a list of words. Raise ValueError with what is wrong."""
        if value is None:
            return []
        words = [value] if isinstance(value, str) else value
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError(f"got {shown(value)}, must be a string or an array of strings")
        return of_contract(self.field, *(word.encode() for word in words))

    def schema(self) -> dict[str, Any]:
        """Return the type as JSON schema."""
        word = {"type": "string", "maxLength": MAX_WORD_LENGTH}
        many = {"type": "array", "items": word, "maxItems": MAX_WORDS}
        return {"anyOf": [word, many, {"type": "null"}]}


class Biases(Described):
    """The contract's logit_bias as an object, or null. The ids are checked where the vocabulary is known."""

    def check(self, value: Any) -> Any:
        """Return the numbers by token id, without those of 0. Raise ValueError with what is wrong."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise ValueError(f"got {shown(value)}, must be an object of token ids and numbers")
        for token_id, bias in value.items():
            if not re.fullmatch(TOKEN_ID, token_id):
                raise ValueError(f"got the key {shown(token_id)}, must be a token id")
            if isinstance(bias, bool) or not isinstance(bias, int | float):
                raise ValueError(f"got {shown(bias)} for token {token_id}, must be a number")
            if not abs(bias) <= MAX_BIAS:
                limits = f"at least -{MAX_BIAS} and at most {MAX_BIAS}"
                raise ValueError(f"got {shown(bias)} for token {token_id}, must be {limits}")
        if len(value) > MAX_TOKENS:
            raise ValueError(f"got {len(value)} tokens, at most {MAX_TOKENS} are allowed")
        return {int(token_id): bias for token_id, bias in value.items() if bias}

    def schema(self) -> dict[str, Any]:
        """Return the type as JSON schema."""
        return {
            "type": ["object", "null"],
            "propertyNames": {"pattern": TOKEN_ID},
            "additionalProperties": {"type": "number", "minimum": -MAX_BIAS, "maximum": MAX_BIAS},
            "maxProperties": MAX_TOKENS,
        }


@dataclass(frozen=True)
class Kept(Described):
    """A text or an object of texts that is accepted and changes nothing."""

    is_object: bool = False

    def check(self, value: Any) -> Any:
        """Return the value. Raise ValueError with what is wrong."""
        if value is None or isinstance(value, dict if self.is_object else str):
            return value
        raise ValueError(f"got {shown(value)}, must be {'an object' if self.is_object else 'a string'}")

    def schema(self) -> dict[str, Any]:
        """Return the type as JSON schema."""
        return {"type": ["object" if self.is_object else "string", "null"]}


class Refused(Described):
    """A field that is not served. neutral: values that change nothing, beside null; these are welcome."""

    def __init__(self, instead: str, *neutral: Any) -> None:
        self._instead, self._neutral = instead, neutral

    def check(self, value: Any) -> Any:
        """Return the value. Raise ValueError with what is wrong."""
        if value is None or any(type(value) is type(one) and value == one for one in self._neutral):
            return value
        raise ValueError(self._instead)

    def schema(self) -> dict[str, Any]:
        """Return the neutral values as JSON schema."""
        return {"enum": [None, *self._neutral], "description": f"Not served: {self._instead}."}


def of_contract(field: str, *values: Any) -> Any:
    """Return the contract's value of a field. Raise ValueError with what is wrong, without the name."""
    low, high = (0, 2**64 - 1) if FIELDS[field].datatype == "UINT64" else (-INT32_MAX - 1, INT32_MAX)
    if FIELDS[field].datatype in ("INT32", "UINT64") and not low <= values[0] <= high:
        raise ValueError(f"got {shown(values[0])}, must be at least {low} and at most {high}")
    try:
        return check_field(field, [*values])
    except RequestError as error:
        raise ValueError(str(error).removeprefix(f"{field}: ")) from None


def shown(value: Any) -> str:
    """Return a caller's value as a message repeats it."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 60 else text[:60] + "..."


def _plain(number: float) -> float:
    return int(number) if number == int(number) else number
