# SPDX-License-Identifier: Apache-2.0
"""The asyncio client: Client's calls, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from client.address import parse_url
from client.asking import AskedStream, ask
from client.blocking import TIMEOUT
from client.request import Message, Sampling, build_fields
from client.response import Completion
from client.retry import Retry, retry_policy
from client.status import Status, ask_status
from client.transport import Transport

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AsyncClient:
    """A server, asked from one event loop by any number of tasks. Arguments and errors are Client's.

    async with AsyncClient("grpc://localhost:8001") as client:
        print((await client.generate("To change the settings,", max_tokens=32)).text)
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = TIMEOUT,
        retries: bool | Retry = True,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._transport = _transport(url, headers or {})
        self._timeout, self._policy = timeout, retry_policy(retries)

    async def generate(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[Message] | None = None,
        **sampling: Unpack[Sampling],
    ) -> Completion:
        """The whole answer. Raises ClientError.

        (await client.generate("Once upon a time", temperature=0.7, seed=7)).text
        """
        fields = build_fields(prompt, messages, sampling)
        return await ask(self._transport, fields, self._timeout, self._policy)

    def stream(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[Message] | None = None,
        **sampling: Unpack[Sampling],
    ) -> AsyncStream:
        """The same answer, piece by piece as it is made. A bad argument raises InvalidRequest at once.

        async with client.stream("Once upon a time") as stream:
            async for piece in stream:
                print(piece, end="", flush=True)
        """
        fields = build_fields(prompt, messages, sampling)
        return AsyncStream(AskedStream(self._transport, fields, self._timeout, self._policy))

    async def status(self) -> Status:
        """What the server says of itself. Never retried. Raises ClientError.

        (await client.status()).ready
        """
        return await ask_status(self._transport, self._timeout)

    async def close(self) -> None:
        """Let go of the connections. Close streams first.

        await client.close()
        """
        await self._transport.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class AsyncStream:
    """Text as it comes: Stream's properties and promises, iterated with `async for`."""

    def __init__(self, asked: AskedStream) -> None:
        self._asked = asked

    @property
    def completion(self) -> Completion | None:
        """Everything that generate() would have given; None until the stream has ended by itself."""
        return self._asked.completion

    @property
    def finish_reason(self) -> str:
        """stop, length, timeout or cancelled; empty until the stream has ended by itself."""
        return self.completion.finish_reason if self.completion else ""

    async def __anext__(self) -> str:
        piece = await self._asked.next_piece()
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def __aiter__(self) -> AsyncIterator[str]:
        """A generator of its own, which the event loop closes when a loop over it is left."""
        try:
            while (piece := await self._asked.next_piece()) is not None:
                yield piece
        finally:
            self.close()

    def close(self) -> None:
        """End the request on the server if it has not ended; nothing to await.

        stream.close()
        """
        self._asked.close()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _transport(url: str, headers: Mapping[str, str]) -> Transport:
    """Imported when wanted, as Client's."""
    address = parse_url(url)
    if address.scheme.startswith("http"):
        from client.http_async import AsyncHttp

        return AsyncHttp(address, headers)
    from client.grpc_async import AsyncGrpc

    return AsyncGrpc(address, headers)
