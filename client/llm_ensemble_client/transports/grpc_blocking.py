# SPDX-License-Identifier: Apache-2.0
"""gRPC for the blocking client.

The methods are coroutines that block and never suspend (see transport.py).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

import grpc
from tritonclient.grpc import service_pb2_grpc

from llm_ensemble_client.address import Address
from llm_ensemble_client.deadline import Deadline
from llm_ensemble_client.error_mapping import error_from_message
from llm_ensemble_client.request import Fields
from llm_ensemble_client.response import Response
from llm_ensemble_client.transport import MetadataKind
from llm_ensemble_client.transports import grpc_wire


class BlockingGrpc:
    """Transport over gRPC."""

    def __init__(self, address: Address, headers: Mapping[str, str]) -> None:
        self._address, self._metadata = address, tuple(headers.items())
        if address.is_secure:
            credentials = grpc.ssl_channel_credentials()
            self._channel = grpc.secure_channel(address.netloc, credentials, grpc_wire.OPTIONS)
        else:
            self._channel = grpc.insecure_channel(address.netloc, grpc_wire.OPTIONS)
        self._stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    async def infer(self, fields: Fields, deadline: Deadline) -> Response:
        """Send a unary request and return its response."""
        request = grpc_wire.infer_request(grpc_wire.UNARY, fields)
        return grpc_wire.infer_response(self._call("ModelInfer", request, deadline))

    async def metadata(self, kind: MetadataKind, deadline: Deadline) -> dict[str, Any]:
        """Return metadata of the server."""
        return grpc_wire.read_metadata(kind, self._call(*grpc_wire.METHODS[kind], deadline))

    async def open(self, fields: Fields, deadline: Deadline) -> BlockingMessages:
        """Start a streaming request and return its responses."""
        requests = iter([grpc_wire.stream_request(fields)])
        call = self._stub.ModelStreamInfer(requests, timeout=deadline.remaining(), metadata=self._metadata)
        return BlockingMessages(self._address, call, deadline)

    async def sleep(self, seconds: float) -> None:
        """Sleep, in seconds."""
        time.sleep(seconds)

    async def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _call(self, method: str, request: Any, deadline: Deadline) -> Any:
        try:
            return getattr(self._stub, method)(request, timeout=deadline.remaining(), metadata=self._metadata)
        except grpc.RpcError as error:
            raise grpc_wire.error_from_rpc(error, self._address, deadline) from error


class BlockingMessages:
    """The responses of one ModelStreamInfer call.

    After its last response, or error, a call is read to its end: a cancel in between makes tritonserver
    2.51.0 keep the model.
    """

    def __init__(self, address: Address, call: Any, deadline: Deadline) -> None:
        self._address, self._call, self._deadline = address, call, deadline
        self._is_open = True

    async def next(self) -> Response | None:
        """Return the next response; None after the last."""
        if not self._is_open:
            return None
        try:
            message = next(self._call, None)
        except grpc.RpcError as error:
            self._is_open = False
            raise grpc_wire.error_from_rpc(error, self._address, self._deadline) from error
        if message is None:
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
        with contextlib.suppress(grpc.RpcError):  # how it ends does not matter any more
            for _ in self._call:
                pass
