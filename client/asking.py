# SPDX-License-Identifier: Apache-2.0
"""Asking a server: retries, and what a stream is from its first response to its last. Knows no protocol."""

from __future__ import annotations

from client.deadline import Deadline
from client.errors import Unreachable
from client.request import Fields
from client.response import Completion, Gathered, completion_of
from client.retry import Retry, patiently
from client.transport import Responses, Transport


async def ask(transport: Transport, fields: Fields, timeout: float, policy: Retry) -> Completion:
    """The whole answer at once."""
    deadline = Deadline(timeout)
    response = await patiently(lambda: transport.infer(fields, deadline), policy, deadline, transport.sleep)
    return completion_of(response)


class AskedStream:
    """One streamed request: asked when its first piece is wanted, retried until it has come."""

    def __init__(self, transport: Transport, fields: Fields, timeout: float, policy: Retry) -> None:
        self._transport, self._fields = transport, fields
        self._timeout, self._policy = timeout, policy
        self._responses: Responses | None = None
        self._gathered = Gathered()
        self._is_over = False

    @property
    def completion(self) -> Completion | None:
        """The whole answer, once it is there."""
        return self._gathered.completion

    async def next_piece(self) -> str | None:
        """The next text that is not empty; None at the end. Whatever is raised ends the stream."""
        if self._is_over:
            return None
        try:
            if self._responses is None:
                deadline = Deadline(self._timeout)
                piece = await patiently(
                    lambda: self._begin(deadline), self._policy, deadline, self._transport.sleep
                )
            else:
                piece = await self._read(self._responses)
        except BaseException:  # a cancelled task and Ctrl-C, too, leave nothing running on the server
            self.close()
            raise
        self._is_over = self._is_over or piece is None
        return piece

    def close(self) -> None:
        """End the request, on the server too; may be called again, and from another thread."""
        self._is_over = True
        if self._responses is not None:
            self._responses.close()

    async def _begin(self, deadline: Deadline) -> str | None:
        """Ask, and wait for the first text: responses before it are empty, so all can be asked again."""
        self._gathered = Gathered()
        responses = await self._transport.open(self._fields, deadline)
        self._responses = responses
        try:
            return await self._read(responses)
        except BaseException:
            responses.close()
            raise

    async def _read(self, responses: Responses) -> str | None:
        while (response := await responses.next()) is not None:
            self._gathered.add(response)
            if response.texts[0]:
                return response.texts[0]
        if self.completion is None and not self._is_over:
            raise Unreachable("the connection ended before the text did")
        return None
