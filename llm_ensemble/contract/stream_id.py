# SPDX-License-Identifier: Apache-2.0
"""The id of a stream, by which every process of a server knows it."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator

_UNARY = 2**63  # ids from here on are ensemble_unary's
_PER_INSTANCE = 2**48  # ids that each instance of the engine stage has


class StreamId(int):
    """An integer from 1 to 2**64 - 1, which is also its encoding on every wire.

    ensemble_unary, which knows its streams before the engine stage does, draws an id at random from the upper
    half: a process of it that is started anew takes none of the one before. Every other stream gets its id
    from the instance of the engine stage that runs it, which counts in a range of its own.
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
        """Return a new id for a request of ensemble_unary."""
        return cls(_UNARY + secrets.randbelow(2**59))

    @classmethod
    def of_instance(cls, instance: int) -> Iterator[StreamId]:
        """Yield the ids of an instance of the engine stage, each once."""
        return map(cls, itertools.count(instance * _PER_INSTANCE + 1))

    @property
    def is_unary(self) -> bool:
        """Whether ensemble_unary gave this id, and therefore gets the stream's chunks."""
        return self >= _UNARY

    @property
    def instance(self) -> int | None:
        """The instance of the engine stage that gave this id; None if ensemble_unary did."""
        return None if self.is_unary else self // _PER_INSTANCE
