# SPDX-License-Identifier: Apache-2.0
"""HTTP for the asyncio client, on aiohttp, which tritonclient's own asyncio client uses too."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp

from client import http_wire
from client.address import Address
from client.deadline import Deadline
from client.errors import Unreachable
from client.request import Fields
from client.response import Response
from client.transport import CONNECT_SECONDS, Question

TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)  # the deadline has the rest


class AsyncHttp:
    """A server asked over HTTP, in one event loop."""

    def __init__(self, address: Address, headers: Mapping[str, str]) -> None:
        self.address, self._headers = address, headers
        self._opened: aiohttp.ClientSession | None = None

    async def infer(self, fields: Fields, deadline: Deadline) -> Response:
        """Ask for one response."""
        body = http_wire.infer_body(fields)
        return http_wire.infer_answer(*await self._whole("POST", http_wire.INFER, body, deadline))

    async def about(self, question: Question, deadline: Deadline) -> dict[str, Any]:
        """What the server says of itself."""
        path = http_wire.PATHS[question]
        return http_wire.about_answer(question, *await self._whole("GET", path, None, deadline))

    async def open(self, fields: Fields, deadline: Deadline) -> AsyncEvents:
        """Ask for a response a chunk."""
        with faults(self.address, deadline):
            answer = await self._send("POST", http_wire.STREAM, http_wire.stream_body(fields), deadline)
            if answer.status != 200:
                body = await asyncio.wait_for(answer.read(), deadline.left())
                raise http_wire.http_fault(answer.status, body, streamed=True)
        return AsyncEvents(self.address, answer, deadline)

    async def sleep(self, seconds: float) -> None:
        """Do nothing for so long."""
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Let go of the connections."""
        if self._opened is not None:
            await self._opened.close()

    async def _whole(
        self, method: str, path: str, body: bytes | None, deadline: Deadline
    ) -> tuple[int, bytes]:
        with faults(self.address, deadline):
            answer = await self._send(method, path, body, deadline)
            try:
                return answer.status, await asyncio.wait_for(answer.read(), deadline.left())
            finally:
                answer.release()

    async def _send(
        self, method: str, path: str, body: bytes | None, deadline: Deadline
    ) -> aiohttp.ClientResponse:
        url = self.address.url + path
        asked = self._session().request(method, url, data=body, headers=self._headers)
        return await asyncio.wait_for(asked, deadline.left())

    def _session(self) -> aiohttp.ClientSession:
        """Made with the first request, since a session belongs to the loop that runs."""
        if self._opened is None:
            connector = aiohttp.TCPConnector(limit=0)  # how many run is the server's to say
            self._opened = aiohttp.ClientSession(connector=connector, timeout=TIMEOUT)
        return self._opened


class AsyncEvents:
    """The events of one /generate_stream."""

    def __init__(self, address: Address, answer: aiohttp.ClientResponse, deadline: Deadline) -> None:
        self._address, self._answer, self._deadline = address, answer, deadline
        self._events, self._ready = http_wire.Events(), list[Response]()
        self._is_open = True

    async def next(self) -> Response | None:
        """The next response; None after the last."""
        while not self._ready and self._is_open:
            with faults(self._address, self._deadline):
                data = await asyncio.wait_for(self._answer.content.readany(), self._deadline.left())
            self._is_open = bool(data)
            self._ready += self._events.feed(data)
        return self._ready.pop(0) if self._ready else None

    def close(self) -> None:
        """Drop the connection, which ends the request."""
        if self._is_open:
            self._is_open = False
            self._answer.close()


@contextlib.contextmanager
def faults(address: Address, deadline: Deadline) -> Iterator[None]:
    """Turn what aiohttp raises into the client's own errors."""
    try:
        yield
    except (asyncio.TimeoutError, TimeoutError) as error:  # two classes on Python 3.10
        deadline.left()
        raise Unreachable(f"{address.url} takes no connection") from error
    except (OSError, aiohttp.ClientError) as error:
        raise Unreachable(f"{address.url}: {error or type(error).__name__}") from error
