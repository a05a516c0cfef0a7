# SPDX-License-Identifier: Apache-2.0
"""A streamed answer: responses of the ensemble to events."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from openai_frontend.errors import ApiError
from openai_frontend.generation.answer import Answer
from openai_frontend.generation.asking import Arrived
from openai_frontend.generation.pieces import Piece, Usage, failure, pieces

QUIET = b": \n\n"  # a comment, which readers of events skip: the stream lives, and proxies let it


class Events:
    """The events of one answer. echoes: with what the text of each prompt begins. usage: where it counts."""

    def __init__(self, answer: Answer, sequences: int, echoes: Sequence[str], usage: Usage) -> None:
        self._answer, self._sequences, self._echoes = answer, sequences, echoes
        self._usage = usage
        self._ended: set[int] = set()
        self.failure: ApiError | None = None  # of a choice that did not end by itself

    def opening(self) -> bytes:
        """Return the first events."""
        indices = range(len(self._echoes) * self._sequences)
        return b"".join(
            self._answer.opening(index, self._echoes[index // self._sequences]) for index in indices
        )

    def next(self, arrived: Sequence[Arrived]) -> tuple[bytes, bool]:
        """Return the events of responses that came, a comment if they say nothing; and whether to end now."""
        self._usage.add(arrived)
        events = b"".join(map(self._event, pieces(arrived, self._sequences))) or QUIET
        return (events, False) if self.failure is None else (events + error_event(self.failure), True)

    def _event(self, piece: Piece) -> bytes:
        if piece.index in self._ended:
            return b""
        event = self._answer.delta(piece) if piece.text or piece.scores else b""
        if not piece.finish:
            return event
        self._ended.add(piece.index)
        error = failure(piece)
        if error:
            self.failure = self.failure or error
            return event
        return event + self._answer.ending(piece)

    def closing(self) -> bytes:
        """Return the last events."""
        return self._answer.closing(self._usage)


def error_event(error: ApiError) -> bytes:
    """Return the event with which a stream ends that cannot go on."""
    return b"data: " + msgspec.json.encode(error.content) + b"\n\n"
