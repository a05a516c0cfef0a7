# SPDX-License-Identifier: Apache-2.0
"""The id of a stream, by which every process of a server knows it."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Iterator

_UNARY = 2**63  # ids from here on are ensemble_unary's
_PER_INSTANCE = 2**48  # ids that each instance of the engine stage has
_CORRELATION_ID = re.compile(r"ensemble_unary:([0-9]{19,20})")


class StreamId(int):
    """An integer from 1 to 2**64 - 1, which is also its encoding on every wire.

    ensemble_unary must know the id of a stream before the engine stage sees the request: it draws one at
    random from the upper half, so that no other request can take it on purpose. Every other stream gets its
    id from the instance of the engine stage that runs it, which counts in a range of its own.
    Raises ValueError for any other integer.
    """

    __slots__ = ()

    def __new__(cls, value: int) -> StreamId:
        """Check the range."""
        if not 0 < value < 2**64:
            raise ValueError(f"{value} is no stream id")
        return super().__new__(cls, value)

    @classmethod
    def for_unary(cls) -> StreamId:
        """Return a new id for a request that ensemble_unary forwards."""
        return cls(_UNARY + secrets.randbelow(2**59))

    @classmethod
    def of_instance(cls, instance: int) -> Iterator[StreamId]:
        """Yield the ids of an instance of the engine stage, each once."""
        return map(cls, itertools.count(instance * _PER_INSTANCE + 1))

    @classmethod
    def from_correlation_id(cls, text: str) -> StreamId | None:
        """Return the id of ensemble_unary's that a text has; None for any other, a client's sequence_id."""
        found = _CORRELATION_ID.fullmatch(text)
        value = int(found[1]) if found else 0
        return cls(value) if _UNARY <= value < 2**64 else None

    @property
    def correlation_id(self) -> str:
        """The id as the correlation id of a request between models of Triton."""
        return f"ensemble_unary:{int(self)}"

    @property
    def is_unary(self) -> bool:
        """Whether ensemble_unary gave this id, and therefore gets the stream's result."""
        return self >= _UNARY

    @property
    def instance(self) -> int | None:
        """The instance of the engine stage that gave this id; None if ensemble_unary did."""
        return None if self.is_unary else self // _PER_INSTANCE
