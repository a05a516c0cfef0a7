# SPDX-License-Identifier: Apache-2.0
"""gRPC for the asyncio client."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2_grpc

from client import grpc_wire
from client.address import Address
from client.deadline import Deadline
from client.faults import fault
from client.request import Fields
from client.response import Response
from client.transport import Question


class AsyncGrpc:
    """A server asked over gRPC, in one event loop."""

    def __init__(self, address: Address, headers: Mapping[str, str]) -> None:
        self._address, self._metadata = address, tuple(headers.items())
        self._opened: grpc.aio.Channel | None = None

    async def infer(self, fields: Fields, deadline: Deadline) -> Response:
        """Ask for one response."""
        request = grpc_wire.infer_request(grpc_wire.UNARY, fields)
        return grpc_wire.infer_response(await self._call("ModelInfer", request, deadline))

    async def about(self, question: Question, deadline: Deadline) -> dict[str, Any]:
        """What the server says of itself."""
        return grpc_wire.about_answer(question, await self._call(*grpc_wire.METHODS[question], deadline))

    async def open(self, fields: Fields, deadline: Deadline) -> AsyncMessages:
        """Ask for a response a chunk."""
        requests = iter([grpc_wire.stream_request(fields)])
        call = self._stub().ModelStreamInfer(requests, timeout=deadline.left(), metadata=self._metadata)
        return AsyncMessages(self._address, call, deadline)

    async def sleep(self, seconds: float) -> None:
        """Do nothing for so long."""
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Let go of the channel."""
        if self._opened is not None:
            await self._opened.close()

    async def _call(self, method: str, request: Any, deadline: Deadline) -> Any:
        try:
            call = getattr(self._stub(), method)
            return await call(request, timeout=deadline.left(), metadata=self._metadata)
        except grpc.RpcError as error:
            raise grpc_wire.grpc_fault(error, self._address, deadline) from error

    def _stub(self) -> Any:
        """Its channel is made with the first request, since it belongs to the loop that runs."""
        if self._opened is None:
            netloc, options = self._address.netloc, grpc_wire.OPTIONS
            if self._address.is_secure:
                self._opened = grpc.aio.secure_channel(netloc, grpc.ssl_channel_credentials(), options)
            else:
                self._opened = grpc.aio.insecure_channel(netloc, options)
        return service_pb2_grpc.GRPCInferenceServiceStub(self._opened)


class AsyncMessages:
    """The messages of one ModelStreamInfer."""

    def __init__(self, address: Address, call: Any, deadline: Deadline) -> None:
        self._address, self._call, self._deadline = address, call, deadline
        self._is_open = True

    async def next(self) -> Response | None:
        """The next response; None after the last."""
        try:
            message = await self._call.read()
        except grpc.RpcError as error:
            self._is_open = False
            raise grpc_wire.grpc_fault(error, self._address, self._deadline) from error
        if message is grpc.aio.EOF:
            self._is_open = False
            return None
        if message.error_message:
            raise await self._drained(message.error_message)
        return grpc_wire.infer_response(message.infer_response)

    async def _drained(self, words: str) -> Exception:
        """Read to the end after an error: if it were cancelled now, 2.51.0 would keep the model for ever."""
        while await self.next() is not None:
            pass
        return fault(words)

    def close(self) -> None:
        """Cancel the call, which ends the request; never after an error."""
        if self._is_open:
            self._is_open = False
            self._call.cancel()
