# SPDX-License-Identifier: Apache-2.0
"""HTTP for the asyncio client, on aiohttp, which tritonclient's own asyncio client uses too."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar

import aiohttp

from llm_ensemble_client.address import Address
from llm_ensemble_client.deadline import Deadline
from llm_ensemble_client.errors import Unreachable
from llm_ensemble_client.request import Fields
from llm_ensemble_client.response import Response
from llm_ensemble_client.transport import CONNECT_SECONDS, MetadataKind
from llm_ensemble_client.transports import http_wire

T = TypeVar("T")
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)  # the deadline limits the rest


class AsyncHttp:
    """Transport over HTTP, for one event loop."""

    def __init__(self, address: Address, headers: Mapping[str, str]) -> None:
        self.address, self._headers = address, headers
        self._opened: aiohttp.ClientSession | None = None

    async def infer(self, fields: Fields, deadline: Deadline) -> Response:
        """Send a unary request and return its response."""
        body = http_wire.infer_body(fields)
        return http_wire.infer_answer(*await self._whole("POST", http_wire.INFER, body, deadline))

    async def metadata(self, kind: MetadataKind, deadline: Deadline) -> dict[str, Any]:
        """Return metadata of the server."""
        path = http_wire.PATHS[kind]
        return http_wire.read_metadata(kind, *await self._whole("GET", path, None, deadline))

    async def open(self, fields: Fields, deadline: Deadline) -> AsyncEvents:
        """Start a streaming request and return its responses."""
        return await self.ask({**fields, "stream": True}, deadline, "", {})

    async def ask(
        self, fields: Fields, deadline: Deadline, request_id: str, headers: Mapping[str, str]
    ) -> AsyncEvents:
        """Send a request, streaming or not as its field says; return its responses."""
        body = http_wire.generate_body(fields, request_id)
        with mapped_errors(self.address, deadline):
            answer = await self._send("POST", http_wire.STREAM, body, deadline, headers)
            if answer.status != 200:
                body = await within(deadline, answer.read)
                raise http_wire.error_from_http(answer.status, body, streamed=True)
        return AsyncEvents(self.address, answer, deadline)

    async def sleep(self, seconds: float) -> None:
        """Sleep, in seconds."""
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Close all connections."""
        if self._opened is not None:
            await self._opened.close()

    async def _whole(
        self, method: str, path: str, body: bytes | None, deadline: Deadline
    ) -> tuple[int, bytes]:
        with mapped_errors(self.address, deadline):
            answer = await self._send(method, path, body, deadline)
            try:
                return answer.status, await within(deadline, answer.read)
            finally:
                answer.release()

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        deadline: Deadline,
        headers: Mapping[str, str] = {},
    ) -> aiohttp.ClientResponse:
        url, headers = self.address.url + path, {**self._headers, **headers}
        request = functools.partial(self._session().request, method, url, data=body, headers=headers)
        return await within(deadline, request)

    def _session(self) -> aiohttp.ClientSession:
        """Return the session, created with the first request: a session belongs to the running loop."""
        if self._opened is None:
            connector = aiohttp.TCPConnector(limit=0)  # the server limits concurrency
            self._opened = aiohttp.ClientSession(connector=connector, timeout=TIMEOUT)
        return self._opened


class AsyncEvents:
    """The responses of one /generate_stream request."""

    def __init__(self, address: Address, answer: aiohttp.ClientResponse, deadline: Deadline) -> None:
        self._address, self._answer, self._deadline = address, answer, deadline
        self._events, self._ready = http_wire.EventParser(), list[Response]()
        self._is_open = True

    async def next(self) -> Response | None:
        """Return the next response; None after the last."""
        while not self._ready and self._is_open:
            with mapped_errors(self._address, self._deadline):
                data = await within(self._deadline, self._answer.content.readany)
            self._is_open = bool(data)
            self._ready += self._events.feed(data)
        return self._ready.pop(0) if self._ready else None

    def close(self) -> None:
        """Close the connection, which aborts the request. No-op if it has ended."""
        if self._is_open:
            self._is_open = False
            self._answer.close()


async def within(deadline: Deadline, begin: Callable[[], Awaitable[T]]) -> T:
    """Await what `begin` begins until the deadline, after which nothing is begun. Raise TimedOut."""
    remaining = deadline.remaining()  # first: what is begun and then not awaited is a warning of Python's
    return await asyncio.wait_for(begin(), remaining)


@contextlib.contextmanager
def mapped_errors(address: Address, deadline: Deadline) -> Iterator[None]:
    """Raise errors of aiohttp as Unreachable or TimedOut."""
    try:
        yield
    except (asyncio.TimeoutError, TimeoutError) as error:  # two classes on Python 3.10
        deadline.remaining()
        raise Unreachable(f"{address.url} takes no connection") from error
    except (OSError, aiohttp.ClientError) as error:
        raise Unreachable(f"{address.url}: {error or type(error).__name__}") from error
