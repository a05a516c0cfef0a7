# SPDX-License-Identifier: Apache-2.0
"""What the client's logic needs of a transport, and how the logic runs without an event loop.

The logic is written once, as coroutines. A blocking transport's coroutines block and never suspend, so `run`
takes them to their end in one step; an asyncio transport's are awaited.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Literal, Protocol, TypeVar

from client.deadline import Deadline
from client.request import Fields
from client.response import Response

T = TypeVar("T")
Question = Literal["ready", "server", "config", "statistics"]

CONNECT_SECONDS = 10.0  # for one connection; the call's own timeout if that is shorter


class Responses(Protocol):
    """The responses of one streamed request."""

    async def next(self) -> Response | None:
        """The next one; None after the last."""

    def close(self) -> None:
        """End the request on the server, unless it has ended; may be called again."""


class Transport(Protocol):
    """A server, asked by one protocol. Every method but sleep and close raises ClientError alone."""

    async def infer(self, fields: Fields, deadline: Deadline) -> Response:
        """Ask for one response."""

    async def open(self, fields: Fields, deadline: Deadline) -> Responses:
        """Ask for a response a chunk."""

    async def about(self, question: Question, deadline: Deadline) -> dict[str, Any]:
        """What the server says of itself, with the names that it uses over HTTP."""

    async def sleep(self, seconds: float) -> None:
        """Do nothing for so long."""

    async def close(self) -> None:
        """Let go of the connections."""


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that blocks where others suspend."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise AssertionError("a blocking transport suspended")
