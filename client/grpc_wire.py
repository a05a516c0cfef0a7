# SPDX-License-Identifier: Apache-2.0
"""Triton's gRPC protocol as far as the client speaks it: requests, answers, statuses. Opens no channel.

On the messages and stubs of tritonclient, not on its InferenceServerClient: that has one stream at a time,
and two ways, blocking and not, that have little in common.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import service_pb2 as pb

from client.address import Address
from client.deadline import Deadline
from client.errors import ClientError, ServerError, Unreachable
from client.faults import Code, fault
from client.request import Fields
from client.response import Response, read_response
from client.transport import CONNECT_SECONDS, Question
from llm_ensemble.fields import FIELDS

# Plain requests go to ensemble_unary: one call with a status of its own and nothing to be read to an end.
UNARY, STREAM = "ensemble_unary", "ensemble"
# Never send triton_grpc_error, which would give a stream's error a status: it kills tritonserver 2.51.0 (seen
# after some 20 errors: "HandleCancellation called even when the context was not cancelled", then SIGSEGV).
OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_retries", 0),  # retries are ours
    ("grpc.initial_reconnect_backoff_ms", 100),  # a second by default, in which our retries would all fail
    ("grpc.min_reconnect_backoff_ms", int(CONNECT_SECONDS * 1000)),  # how long one connection may take
    ("grpc.max_reconnect_backoff_ms", 2000),
)
LOST = "Internal error from Core"  # what grpc.aio says when a call ended before it was sent; INTERNAL, to it
FORMATS = {"INT32": "<i", "UINT64": "<Q", "FP32": "<f", "BOOL": "<?"}
CODES = {
    grpc.StatusCode.INVALID_ARGUMENT: Code.INVALID,
    grpc.StatusCode.UNAVAILABLE: Code.UNAVAILABLE,
    grpc.StatusCode.CANCELLED: Code.UNAVAILABLE,  # we cancel only what nobody reads any more
    grpc.StatusCode.INTERNAL: Code.INTERNAL,
}
METHODS: Mapping[Question, tuple[str, Any]] = {
    "ready": ("ServerReady", pb.ServerReadyRequest()),
    "server": ("ServerMetadata", pb.ServerMetadataRequest()),
    "config": ("ModelConfig", pb.ModelConfigRequest(name=STREAM)),
    "statistics": ("ModelStatistics", pb.ModelStatisticsRequest()),
}


def infer_request(model: str, fields: Fields) -> Any:
    """A ModelInferRequest."""
    request = pb.ModelInferRequest(model_name=model)
    for name, value in fields.items():
        datatype = FIELDS[name].datatype
        values = value if isinstance(value, list) else [value]
        request.inputs.add(name=name, datatype=datatype, shape=[1, len(values)])
        request.raw_input_contents.append(b"".join(_packed(datatype, one) for one in values))
    return request


def stream_request(fields: Fields) -> Any:
    """A ModelInferRequest for a response a chunk."""
    return infer_request(STREAM, {**fields, "stream": True})


def infer_response(answer: Any) -> Response:
    """The response in a ModelInferResponse."""
    pairs = zip(answer.outputs, answer.raw_output_contents)
    return read_response({output.name: _unpacked(output.datatype, raw) for output, raw in pairs})


def about_answer(question: Question, answer: Any) -> dict[str, Any]:
    """What the server says of itself, with the names it has over HTTP; 64-bit integers are strings."""
    said: dict[str, Any] = MessageToDict(answer, preserving_proto_field_name=True)
    return dict(said.get("config", {})) if question == "config" else said


def grpc_fault(error: grpc.RpcError, address: Address, deadline: Deadline) -> ClientError:
    """The error that a status stands for."""
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return deadline.passed()
    code = CODES.get(error.code(), Code.UNKNOWN)
    if error.details() == LOST:
        code = Code.UNAVAILABLE
    said = fault(error.details() or error.code().name, code)
    return type(said)(f"{address.url}: {said}") if type(said) is Unreachable else said


def _packed(datatype: str, value: Any) -> bytes:
    if datatype == "BYTES":
        text = value.encode()
        return struct.pack("<I", len(text)) + bytes(text)
    return struct.pack(FORMATS[datatype], value)


def _unpacked(datatype: str, raw: bytes) -> list[Any]:
    try:
        if datatype != "BYTES":
            return [value for (value,) in struct.iter_unpack(FORMATS[datatype], raw)]
        texts, start = [], 0
        while start < len(raw):
            (length,) = struct.unpack_from("<I", raw, start)
            texts.append(raw[start + 4 : start + 4 + length].decode())
            start += 4 + length
        return texts
    except (struct.error, LookupError, ValueError) as error:
        raise ServerError(f"cannot read {len(raw)} bytes of {datatype}") from error
