# SPDX-License-Identifier: Apache-2.0
"""The grammar of numbers within bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from llm_ensemble.contract.guides.grammar import Unsupported, either, literal
from llm_ensemble.contract.guides.json_values import FRACTION, INTEGER, NUMBER

MAX_DIGITS = 15  # of an integer without a bound, and of a bound
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def bounded_number(schema: dict[str, Any], place: str, *, is_integer: bool) -> str:
    """Return the part for an integer or a number within the bounds of its schema.

    Between two whole numbers a number has all its decimals or none: with a minimum of 0.5, 0.7 is not made.
    """
    if not any(name in schema for name in BOUNDS):
        return INTEGER if is_integer else NUMBER
    low, high = _whole_bounds(schema, place)
    parts = [*_between(low, high)]
    if not is_integer:
        # n.d lies between n and n+1, -n.d between -n-1 and -n.
        floor, ceiling = _bounds(schema, place)
        least, most = max(0, math.ceil(floor)), math.floor(ceiling) - 1
        parts += [f"({part}) {FRACTION}" for part in _between(least, most)]
        least, most = max(0, math.ceil(-ceiling)), math.floor(-floor) - 1
        parts += [f'"-" ({part}) {FRACTION}' for part in _between(least, most)]
    if not parts:
        raise Unsupported(place, "its bounds leave no whole number and none between two of them")
    return either(parts)


def _bounds(schema: dict[str, Any], place: str) -> tuple[float, float]:
    """Return the lower and the upper bound, exclusive or not; where there is none, what the digits allow."""
    for name in BOUNDS:
        value = schema.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise Unsupported(f"{place}/{name}", f"got {value!r:.40}, must be a number")
        if abs(value) >= 10**MAX_DIGITS:
            raise Unsupported(f"{place}/{name}", f"got {value}, must have at most {MAX_DIGITS} digits")
    limit = 10**MAX_DIGITS - 1
    floor = max(schema.get("minimum", -limit), schema.get("exclusiveMinimum", -limit))
    return floor, min(schema.get("maximum", limit), schema.get("exclusiveMaximum", limit))


def _whole_bounds(schema: dict[str, Any], place: str) -> tuple[int, int]:
    """Return the first and the last whole number within the bounds."""
    floor, ceiling = _bounds(schema, place)
    low, high = math.ceil(floor), math.floor(ceiling)
    if low == schema.get("exclusiveMinimum"):
        low += 1
    if high == schema.get("exclusiveMaximum"):
        high -= 1
    return low, high


def _between(low: int, high: int) -> Iterator[str]:
    """Yield parts that together match the whole numbers of a range, written without needless zeros."""
    if low > high:
        return
    if low < 0:
        for part in _between(max(1, -high), -low):
            yield f'"-" ({part})'
    low = max(low, 0)
    while low <= high:
        end = 10 ** len(str(low)) - 1  # the last with as many digits
        if low == (end + 1) // 10 and end * 10 + 9 <= high:
            # All numbers of several lengths, as one part: in several ones xgrammar joins what it must not.
            most = len(str(high + 1)) - 1
            yield f"[1-9] [0-9]{{{len(str(low)) - 1},{most - 1}}}"
            low = 10**most
            continue
        end = min(end, high)
        yield from _digits(str(low), str(end))
        low = end + 1


def _digits(low: str, high: str) -> Iterator[str]:
    """Yield parts that match the numbers of a range, all with as many digits."""
    count = len(low)
    if count == 0:
        yield '""'
    elif set(low) == {"0"} and set(high) == {"9"}:
        yield "[0-9]" if count == 1 else f"[0-9]{{{count}}}"
    elif low[0] == high[0]:
        for part in _digits(low[1:], high[1:]):
            yield f"{literal(low[0])} {part}"
    else:
        first, last = int(low[0]), int(high[0])
        if set(low[1:]) - {"0"}:
            yield from (f"{literal(low[0])} {part}" for part in _digits(low[1:], "9" * (count - 1)))
            first += 1
        if set(high[1:]) - {"9"}:
            yield from (f"{literal(high[0])} {part}" for part in _digits("0" * (count - 1), high[1:]))
            last -= 1
        if first <= last:
            yield f"[{first}-{last}]" + (
                "" if count == 1 else " [0-9]" if count == 2 else f" [0-9]{{{count - 1}}}"
            )
