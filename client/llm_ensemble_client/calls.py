# SPDX-License-Identifier: Apache-2.0
"""Unary and streaming calls with retries, independent of protocol and of asyncio."""

from __future__ import annotations

from llm_ensemble_client.deadline import Deadline
from llm_ensemble_client.errors import Unreachable
from llm_ensemble_client.request import Fields
from llm_ensemble_client.response import Completion, CompletionBuilder, completion_from
from llm_ensemble_client.retry import Retry, with_retries
from llm_ensemble_client.transport import Responses, Transport


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
