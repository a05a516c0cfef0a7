# SPDX-License-Identifier: Apache-2.0
"""The part of Triton's gRPC protocol that the client uses: requests, responses, statuses. No input or output.

Uses the messages and stubs of tritonclient, not its InferenceServerClient, which has one stream at a time
and a different interface for asyncio.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import re
import struct
from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import service_pb2 as pb

from llm_ensemble.contract.fields import FIELDS
from llm_ensemble_client.address import Address
from llm_ensemble_client.deadline import Deadline
from llm_ensemble_client.error_mapping import Code, error_from_message
from llm_ensemble_client.errors import ClientError, InvalidRequest, ServerError, Unreachable
from llm_ensemble_client.request import Fields
from llm_ensemble_client.response import Response, read_response
from llm_ensemble_client.transport import CONNECT_SECONDS, MetadataKind

# A unary request goes to ensemble_unary: a single call with its own status, and no stream to read to its end.
UNARY, STREAM = "ensemble_unary", "ensemble"
STREAM_METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"
# Never send triton_grpc_error, which would give a stream's error a status: it kills tritonserver 2.51.0 (seen
# after some 20 errors: "HandleCancellation called even when the context was not cancelled", then SIGSEGV).
OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_retries", 0),  # retry.py retries
    ("grpc.initial_reconnect_backoff_ms", 100),  # the default, 1 s, would outlast the first retries
    ("grpc.min_reconnect_backoff_ms", int(CONNECT_SECONDS * 1000)),  # limit of one connection attempt
    ("grpc.max_reconnect_backoff_ms", 2000),
)
LOST = "Internal error from Core"  # details, with INTERNAL, of a grpc.aio call that ended before it was sent
HEADER_NAME, HEADER_VALUE = re.compile("[0-9a-z_.-]+"), re.compile("[ -~]*")
FORMATS = {"INT32": "<i", "UINT64": "<Q", "FP32": "<f", "BOOL": "<?"}
USUAL = ("text_output", "finish_reason", "num_input_tokens", "num_output_tokens")
CODES = {
    grpc.StatusCode.INVALID_ARGUMENT: Code.INVALID,
    grpc.StatusCode.UNAVAILABLE: Code.UNAVAILABLE,
    grpc.StatusCode.CANCELLED: Code.UNAVAILABLE,  # not by us: a call that we cancel is not read any more
    grpc.StatusCode.INTERNAL: Code.INTERNAL,
}
METHODS: Mapping[MetadataKind, tuple[str, Any]] = {
    "ready": ("ServerReady", pb.ServerReadyRequest()),
    "server": ("ServerMetadata", pb.ServerMetadataRequest()),
    "config": ("ModelConfig", pb.ModelConfigRequest(name=STREAM)),
    "statistics": ("ModelStatistics", pb.ModelStatisticsRequest()),
}


def infer_request(model: str, fields: Fields, request_id: str = "") -> Any:
    """Return a ModelInferRequest; each input has shape [1, values]."""
    request = pb.ModelInferRequest(model_name=model, id=request_id)
    for name, value in fields.items():
        datatype = FIELDS[name].datatype
        values = value if isinstance(value, list) else [value]
        request.inputs.add(name=name, datatype=datatype, shape=[1, len(values)])
        request.raw_input_contents.append(b"".join(_packed(datatype, one) for one in values))
    return request


def stream_request(fields: Fields) -> Any:
    """Return a ModelInferRequest for a streaming request."""
    return infer_request(STREAM, {**fields, "stream": True})


def metadata_of(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return headers as metadata. Raise InvalidRequest for what gRPC cannot send."""
    pairs = [(name.lower(), value) for name, value in headers.items()]
    for name, value in pairs:
        if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
            raise InvalidRequest(f"headers: gRPC cannot send {name!r}: {value!r}", "headers")
    return pairs


def infer_response(answer: Any) -> Response:
    """Return the response in a ModelInferResponse. Raise ServerError if it is not one of this project."""
    if take := _places(*[output.name for output in answer.outputs]):
        with contextlib.suppress(ValueError, IndexError):  # below is said what is wrong
            return _usual_response(take(answer.raw_output_contents))
    pairs = zip(answer.outputs, answer.raw_output_contents)
    return read_response({output.name: _unpacked(output.datatype, raw) for output, raw in pairs})


def _usual_response(contents: Any) -> Response:
    """Return the response of one sequence without log probabilities, as nearly all are. Raise ValueError.

    To read any outputs takes twice as long, and streams have many responses.
    """
    text, finish, num_input, num_output = contents
    if not len(num_input) == len(num_output) == 4:
        raise ValueError("not one number each")
    numbers = int.from_bytes(num_input, "little"), int.from_bytes(num_output, "little")
    return Response((_only_text(text),), (_only_text(finish),), *numbers)


def _only_text(raw: bytes) -> str:
    if len(raw) != 4 + int.from_bytes(raw[:4], "little"):
        raise ValueError("not one text")
    return raw[4:].decode()


@functools.lru_cache(16)
def _places(*names: str) -> Any:
    """Return what takes the USUAL outputs from a list of these; None if these are others."""
    return operator.itemgetter(*map(names.index, USUAL)) if set(names) == {*USUAL} else None


def read_metadata(kind: MetadataKind, answer: Any) -> dict[str, Any]:
    """Return metadata with the keys that it has over HTTP; 64-bit integers are strings."""
    metadata: dict[str, Any] = MessageToDict(answer, preserving_proto_field_name=True)
    return dict(metadata.get("config", {})) if kind == "config" else metadata


def error_from_rpc(error: grpc.RpcError, address: Address, deadline: Deadline) -> ClientError:
    """Return the exception for a failed call; Unreachable names the address."""
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return deadline.timed_out()
    code = CODES.get(error.code(), Code.UNKNOWN)
    if error.details() == LOST:
        code = Code.UNAVAILABLE
    mapped = error_from_message(error.details() or error.code().name, code)
    return Unreachable(f"{address.url}: {mapped}") if type(mapped) is Unreachable else mapped


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
