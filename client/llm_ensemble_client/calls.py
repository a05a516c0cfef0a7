# SPDX-License-Identifier: Apache-2.0
"""Calls, independent of protocol: unary and streaming ones with retries, and the responses of one request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from types import TracebackType

from llm_ensemble_client.deadline import Deadline
from llm_ensemble_client.errors import ClientError, Unreachable
from llm_ensemble_client.request import Fields
from llm_ensemble_client.response import Completion, CompletionBuilder, Response, completion_from
from llm_ensemble_client.retry import Retry, with_retries
from llm_ensemble_client.transport import AsyncTransport, Responses, Transport


async def call_unary(transport: Transport, fields: Fields, timeout: float, policy: Retry) -> Completion:
    """Send a unary request and return its completion. Raise ClientError."""
    deadline = Deadline(timeout)
    response = await with_retries(
        lambda: transport.infer(fields, deadline), policy, deadline, transport.sleep
    )
    return completion_from(response)


class StreamingCall:
    """A streaming request, sent when its first piece is read and retried until that has arrived."""

    def __init__(self, transport: Transport, fields: Fields, timeout: float, policy: Retry) -> None:
        self._transport, self._fields = transport, fields
        self._timeout, self._policy = timeout, policy
        self._responses: Responses | None = None
        self._builder = CompletionBuilder()
        self._is_over = False

    @property
    def completion(self) -> Completion | None:
        """The completion; None until the last response has been read."""
        return self._builder.completion

    async def next_piece(self) -> str | None:
        """Return the next text that is not empty; None at the end. An exception ends the stream."""
        if self._is_over:
            return None
        try:
            if self._responses is None:
                deadline = Deadline(self._timeout)
                piece = await with_retries(
                    lambda: self._begin(deadline), self._policy, deadline, self._transport.sleep
                )
            else:
                piece = await self._read(self._responses)
        except BaseException:  # also a cancelled task and Ctrl-C: the request must not run on
            self.close()
            raise
        self._is_over = self._is_over or piece is None
        return piece

    def close(self) -> None:
        """Abort the request; no-op if it has finished. Thread-safe."""
        self._is_over = True
        if self._responses is not None:
            self._responses.close()

    async def _begin(self, deadline: Deadline) -> str | None:
        """Send the request and return its first text. Responses before it are empty, so it can be retried."""
        self._builder = CompletionBuilder()
        responses = await self._transport.open(self._fields, deadline)
        self._responses = responses
        try:
            return await self._read(responses)
        except BaseException:
            responses.close()
            raise

    async def _read(self, responses: Responses) -> str | None:
        while (response := await responses.next()) is not None:
            self._builder.add(response)
            if response.texts[0]:
                return response.texts[0]
        if self.completion is None and not self._is_over:
            raise Unreachable("the connection ended before the text did")
        return None


class AsyncResponses:
    """An asynchronous iterator of the Responses of one request, and an asynchronous context manager.

    The request is sent, and its timeout starts, when the first response is read. The last one has a finish
    reason for every sequence. The end of the `async with` block, the end of a loop, close() and the
    cancelling of a task that reads abort a request that has not finished. Iteration raises InvalidRequest,
    Overloaded, ServerError, Unreachable or TimedOut; that ends it.
    """

    def __init__(
        self,
        transport: AsyncTransport,
        fields: Fields,
        timeout: float,
        request_id: str,
        headers: Mapping[str, str],
    ) -> None:
        self._transport, self._fields, self._timeout = transport, fields, timeout
        self._request_id, self._headers = request_id, headers
        self._responses: Responses | None = None
        self._is_over = self._is_whole = False

    async def __anext__(self) -> Response:
        response = await self._next()
        if response is None:
            raise StopAsyncIteration
        return response

    async def __aiter__(self) -> AsyncIterator[Response]:
        """Return a generator, which the event loop closes when a loop over it ends early."""
        try:
            while (response := await self._next()) is not None:
                yield response
        finally:
            self.close()

    def close(self) -> None:
        """Abort the request; no-op if it has finished. Not a coroutine, and safe while another task reads:
        that one's iteration ends.

        responses.close()
        """
        self._is_over = True
        if self._responses is not None:
            self._responses.close()

    async def __aenter__(self) -> AsyncResponses:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _next(self) -> Response | None:
        if self._is_over:
            return None
        try:
            responses = self._responses or await self._send()
            response = await responses.next()
        except BaseException as error:  # also a cancelled task: the request must not run on
            was_closed = self._is_over
            self.close()
            if was_closed and isinstance(error, ClientError):
                return None
            raise
        if response is not None:
            self._is_whole = response.is_last
        elif not self._is_whole and not self._is_over:
            self._is_over = True
            raise Unreachable("the connection ended before the last response")
        return response

    async def _send(self) -> Responses:
        deadline = Deadline(self._timeout)
        self._responses = await self._transport.ask(self._fields, deadline, self._request_id, self._headers)
        if self._is_over:  # closed meanwhile
            self._responses.close()
        return self._responses
