# SPDX-License-Identifier: Apache-2.0
"""The interface of a transport, and `run`, which runs coroutines without an event loop.

The client's logic is written once, as coroutines. Those of a blocking transport block and never suspend, so
`run` completes them with a single send; those of an asyncio transport are awaited.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, Literal, Protocol, TypeVar

from llm_ensemble_client.deadline import Deadline
from llm_ensemble_client.request import Fields
from llm_ensemble_client.response import Response

T = TypeVar("T")
MetadataKind = Literal["ready", "server", "config", "statistics"]

CONNECT_SECONDS = 10.0  # to connect; or the call's timeout, if that is shorter


class Responses(Protocol):
    """The responses of one streaming request."""

    async def next(self) -> Response | None:
        """Return the next response; None after the last. Raise ClientError."""

    def close(self) -> None:
        """Abort the request; no-op if it has ended."""


class Transport(Protocol):
    """Access to a server by one protocol. Methods other than sleep and close raise ClientError only."""

    async def infer(self, fields: Fields, deadline: Deadline) -> Response:
        """Send a unary request and return its response."""

    async def open(self, fields: Fields, deadline: Deadline) -> Responses:
        """Start a streaming request and return its responses."""

    async def metadata(self, kind: MetadataKind, deadline: Deadline) -> dict[str, Any]:
        """Return metadata of the server, with the keys that it has over HTTP."""

    async def sleep(self, seconds: float) -> None:
        """Sleep, in seconds."""

    async def close(self) -> None:
        """Close all connections."""


class AsyncTransport(Transport, Protocol):
    """Access to a server for asyncio."""

    async def ask(
        self, fields: Fields, deadline: Deadline, request_id: str, headers: Mapping[str, str]
    ) -> Responses:
        """Send a request, streaming or not as its field says, to `ensemble`; return its responses.

        headers: sent with this request, beside the client's.
        """


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never suspends. Raise AssertionError if it does."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise AssertionError("a blocking transport suspended")
