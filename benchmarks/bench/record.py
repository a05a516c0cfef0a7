# SPDX-License-Identifier: Apache-2.0
"""What is sent and what is seen of it: one request, one record. Times are of time.monotonic(), in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


class BenchError(Exception):
    """The benchmark cannot go on; one line that says what to do."""


@dataclass(frozen=True)
class Request:
    """A prompt, and how many tokens are to come of it."""

    prompt: str
    output_tokens: int


@dataclass
class Record:
    """One request as its client saw it.

    arrivals: when a response with tokens came, and how many it had. ended: the last response, or the error.
    """

    started: float
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    ended: float = 0.0
    input_tokens: int = 0
    error: str = ""

    @property
    def tokens(self) -> int:
        """Tokens that came."""
        return sum(count for _, count in self.arrivals)


class Driver(Protocol):
    """Asks one target; open in one process, for one event loop."""

    def prepare(self, requests: list[Request]) -> None:
        """Do what must not be measured."""

    async def ask(self, request: Request, record: Record) -> None:
        """Send a request and fill in its record. Raises whatever fails."""

    async def close(self) -> None:
        """Let go of connections, or of an engine."""
