# SPDX-License-Identifier: Apache-2.0
"""The asyncio client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from llm_ensemble_client.address import parse_url
from llm_ensemble_client.calls import AsyncResponses, StreamingCall, call_unary
from llm_ensemble_client.deadline import DEFAULT_TIMEOUT
from llm_ensemble_client.request import Message, Sampling, build_fields
from llm_ensemble_client.response import Completion
from llm_ensemble_client.retry import Retry, retry_policy
from llm_ensemble_client.status import Status, read_status
from llm_ensemble_client.transport import AsyncTransport

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AsyncClient:
    """An asyncio client of one server, for any number of tasks of one event loop.

    Parameters, results and exceptions are those of Client.

    async with AsyncClient("grpc://localhost:8001") as client:
        print((await client.generate("To change the settings,", max_tokens=32)).text)
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = DEFAULT_TIMEOUT,
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
        input_ids: Iterable[int] | None = None,
        **sampling: Unpack[Sampling],
    ) -> Completion:
        """Return the completion of a prompt or of a conversation, when it is whole.

        prompt: the text to continue
        messages: instead of a prompt, a conversation for the model's chat template: {"role": str, "content":
            str} and further keys that the template reads
        input_ids: instead of both, the prompt's token ids; no special tokens are added
        sampling: the request's other fields, see Sampling

        Raise InvalidRequest, also for an argument of a wrong name or type, before anything is sent;
        Overloaded, ServerError, Unreachable, or TimedOut after `timeout` seconds.

        (await client.generate("Once upon a time", temperature=0.7, seed=7)).text
        """
        fields = build_fields(prompt, messages, sampling, input_ids)
        return await call_unary(self._transport, fields, self._timeout, self._policy)

    def stream(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[Message] | None = None,
        input_ids: Iterable[int] | None = None,
        **sampling: Unpack[Sampling],
    ) -> AsyncStream:
        """Return a stream of the same text, in pieces as they are generated. Parameters are generate()'s.

        Raise InvalidRequest for an argument of a wrong name or type. Other exceptions are raised when the
        stream is iterated: the request is sent when the first piece is read.

        async with client.stream("Once upon a time") as stream:
            async for piece in stream:
                print(piece, end="", flush=True)
        """
        fields = build_fields(prompt, messages, sampling, input_ids)
        return AsyncStream(StreamingCall(self._transport, fields, self._timeout, self._policy))

    def responses(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[Message] | None = None,
        input_ids: Iterable[int] | None = None,
        stream: bool = True,
        request_id: str = "",
        headers: Mapping[str, str] | None = None,
        **sampling: Unpack[Sampling],
    ) -> AsyncResponses:
        """Return the responses of a request as they come, for servers that pass them on. Never retried.

        stream: False for one response, with all of the text
        request_id: by which the server's log names the request
        headers: HTTP headers, or gRPC metadata, of this request, beside the client's
        The other parameters and the exceptions are those of stream(). The request is sent when the first
        response is read. Over HTTP a server does not notice the end of a connection before its first
        response: there close() aborts a request that is not streamed only when it has ended.

        async with client.responses("Once upon a time", request_id="17") as responses:
            async for response in responses:
                print(response.texts[0], response.num_output_tokens)
        """
        fields = build_fields(prompt, messages, sampling, input_ids)
        fields["stream"] = stream
        return AsyncResponses(self._transport, fields, self._timeout, request_id, headers or {})

    async def status(self) -> Status:
        """Return the server's readiness, version and models. Not retried.

        Raise ServerError, Unreachable or TimedOut. A server that is loading is no error: `ready` is False.

        (await client.status()).ready
        """
        return await read_status(self._transport, self._timeout)

    async def close(self) -> None:
        """Close the connections. Close streams first.

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
    """An asynchronous iterator of the text of one request, and an asynchronous context manager.

    Pieces, properties and exceptions are those of Stream. Cancelling the task that iterates it aborts the
    request.
    """

    def __init__(self, call: StreamingCall) -> None:
        self._call = call

    @property
    def completion(self) -> Completion | None:
        """What generate() returns; None until the last response has been read."""
        return self._call.completion

    @property
    def finish_reason(self) -> str:
        """stop, length, timeout or cancelled; empty until the last response has been read."""
        return self.completion.finish_reason if self.completion else ""

    async def __anext__(self) -> str:
        piece = await self._call.next_piece()
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def __aiter__(self) -> AsyncIterator[str]:
        """Return a generator, which the event loop closes when a loop over it ends early."""
        try:
            while (piece := await self._call.next_piece()) is not None:
                yield piece
        finally:
            self.close()

    def close(self) -> None:
        """Abort the request; no-op if it has finished. Not a coroutine.

        stream.close()
        """
        self._call.close()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _transport(url: str, headers: Mapping[str, str]) -> AsyncTransport:
    """Return the transport of a URL, imported here as in client.py."""
    address = parse_url(url)
    if address.scheme.startswith("http"):
        from llm_ensemble_client.transports.http_async import AsyncHttp

        return AsyncHttp(address, headers)
    from llm_ensemble_client.transports.grpc_async import AsyncGrpc

    return AsyncGrpc(address, headers)
