# SPDX-License-Identifier: Apache-2.0
"""gRPC for the asyncio client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from llm_ensemble_client.address import Address
from llm_ensemble_client.deadline import Deadline
from llm_ensemble_client.error_mapping import error_from_message
from llm_ensemble_client.request import Fields
from llm_ensemble_client.response import Response
from llm_ensemble_client.transport import MetadataKind
from llm_ensemble_client.transports import grpc_wire

END_SECONDS = 1.0  # from a request's last response to the end of its call: some milliseconds


class AsyncGrpc:
    """Transport over gRPC, for one event loop."""

    def __init__(self, address: Address, headers: Mapping[str, str]) -> None:
        self._address, self._metadata = address, tuple(headers.items())
        self._made: Methods | None = None
        self._ends: set[asyncio.Task[None]] = set()

    async def infer(self, fields: Fields, deadline: Deadline) -> Response:
        """Send a unary request and return its response."""
        request = grpc_wire.infer_request(grpc_wire.UNARY, fields)
        return grpc_wire.infer_response(await self._call("ModelInfer", request, deadline))

    async def metadata(self, kind: MetadataKind, deadline: Deadline) -> dict[str, Any]:
        """Return metadata of the server."""
        return grpc_wire.read_metadata(kind, await self._call(*grpc_wire.METHODS[kind], deadline))

    async def open(self, fields: Fields, deadline: Deadline) -> AsyncMessages:
        """Start a streaming request and return its responses."""
        return self._stream(grpc_wire.stream_request(fields), deadline, self._metadata)

    async def ask(
        self, fields: Fields, deadline: Deadline, request_id: str, headers: Mapping[str, str]
    ) -> AsyncMessages:
        """Send a request, streaming or not as its field says; return its responses."""
        request = grpc_wire.infer_request(grpc_wire.STREAM, fields, request_id)
        return self._stream(request, deadline, (*self._metadata, *grpc_wire.metadata_of(headers)))

    async def sleep(self, seconds: float) -> None:
        """Sleep, in seconds."""
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Close the channel."""
        if self._ends:
            await asyncio.wait(self._ends, timeout=END_SECONDS)
        if self._made is not None:
            await self._made.channel.close()

    async def _call(self, method: str, request: Any, deadline: Deadline) -> Any:
        try:
            call = getattr(self._methods.stub, method)
            return await call(request, timeout=deadline.remaining(), metadata=self._metadata)
        except grpc.RpcError as error:
            raise grpc_wire.error_from_rpc(error, self._address, deadline) from error

    def _stream(self, request: Any, deadline: Deadline, metadata: Sequence[tuple[str, str]]) -> AsyncMessages:
        call = self._methods.stream(request, timeout=deadline.remaining(), metadata=metadata)
        return AsyncMessages(self._address, call, deadline, self._ends)

    @property
    def _methods(self) -> Methods:
        """The methods; their channel, created with the first request, belongs to the running loop."""
        if self._made is None:
            netloc, options = self._address.netloc, grpc_wire.OPTIONS
            if self._address.is_secure:
                channel = grpc.aio.secure_channel(netloc, grpc.ssl_channel_credentials(), options)
            else:
                channel = grpc.aio.insecure_channel(netloc, options)
            self._made = Methods(channel)
        return self._made


class Methods:
    """A channel and the methods of the server, made once: that takes longer than some calls."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        # One request goes out and the stream is closed on this side, which is what a call with one request
        # does. The stub's would send its head, the request and the end one after the other.
        self.stream: Any = channel.unary_stream(
            grpc_wire.STREAM_METHOD,
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )


class AsyncMessages:
    """The responses of one ModelStreamInfer call.

    A call must not be cancelled between its last response, or error, and its end: tritonserver 2.51.0 then
    keeps the model and does not stop (seen with each of 100 such cancels). So a task of its own reads on.
    ends: the tasks of the channel that do.
    """

    def __init__(
        self, address: Address, call: Any, deadline: Deadline, ends: set[asyncio.Task[None]]
    ) -> None:
        self._address, self._call, self._deadline, self._ends = address, call, deadline, ends
        self._is_open = True

    async def next(self) -> Response | None:
        """Return the next response; None after the last."""
        if not self._is_open:
            return None
        try:
            message = await self._call.read()
        except asyncio.CancelledError:  # of this task, or of the call, by close() in another task
            if self._is_open:
                raise
            return None
        except grpc.RpcError as error:
            self._is_open = False
            raise grpc_wire.error_from_rpc(error, self._address, self._deadline) from error
        if message is grpc.aio.EOF:
            self._is_open = False
            return None
        if message.error_message:
            self._read_to_the_end()
            raise error_from_message(message.error_message)
        response = grpc_wire.infer_response(message.infer_response)
        if response.is_last:
            self._read_to_the_end()
        return response

    def close(self) -> None:
        """Cancel the call, which aborts the request. No-op if it has ended or failed."""
        if self._is_open:
            self._is_open = False
            self._call.cancel()

    def _read_to_the_end(self) -> None:
        self._is_open = False
        end = asyncio.ensure_future(_end(self._call))
        self._ends.add(end)
        end.add_done_callback(self._ends.discard)


async def _end(call: Any) -> None:
    """Read a call to its end; how it ends does not matter any more."""
    with contextlib.suppress(grpc.RpcError):
        while await call.read() is not grpc.aio.EOF:
            pass
