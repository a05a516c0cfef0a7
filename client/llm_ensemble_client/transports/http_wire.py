# SPDX-License-Identifier: Apache-2.0
"""The part of Triton's HTTP protocol that the client uses: paths, bodies, responses. No input or output."""

from __future__ import annotations

import json
from typing import Any

from llm_ensemble.contract.fields import FIELDS
from llm_ensemble_client.error_mapping import Code, error_from_message
from llm_ensemble_client.errors import ClientError, ServerError
from llm_ensemble_client.request import Fields
from llm_ensemble_client.response import Response, read_response
from llm_ensemble_client.transport import MetadataKind

# /generate responds 400 to every error, so unary requests use /infer, and with it ensemble_unary: Triton
# refuses /infer for a streaming model.
INFER = "/v2/models/ensemble_unary/infer"
STREAM = "/v2/models/ensemble/generate_stream"
PATHS: dict[MetadataKind, str] = {
    "ready": "/v2/health/ready",
    "server": "/v2",
    "config": "/v2/models/ensemble/config",
    "statistics": "/v2/models/stats",
}
OUR_CODES = {400: Code.INVALID, 500: Code.INTERNAL, 503: Code.UNAVAILABLE}
PROXY_CODES = {502: Code.UNAVAILABLE, 503: Code.UNAVAILABLE, 504: Code.UNAVAILABLE}


def infer_body(fields: Fields) -> bytes:
    """Return the body of an /infer request; each input has shape [1, values]."""
    inputs = []
    for name, value in fields.items():
        values = value if isinstance(value, list) else [value]
        shape = [1, len(values)]
        inputs.append({"name": name, "datatype": FIELDS[name].datatype, "shape": shape, "data": values})
    return json.dumps({"inputs": inputs}).encode()


def stream_body(fields: Fields) -> bytes:
    """Return the body of a /generate_stream request for a stream."""
    return generate_body({**fields, "stream": True}, "")


def generate_body(fields: Fields, request_id: str) -> bytes:
    """Return the body of a /generate_stream request."""
    return json.dumps({**fields, "id": request_id} if request_id else fields).encode()


def infer_answer(status: int, body: bytes) -> Response:
    """Return the response in the body of /infer. Raise ClientError for an error."""
    if status != 200:
        raise error_from_http(status, body)
    outputs = _object(body).get("outputs", [])
    return read_response({output["name"]: output["data"] for output in outputs})


def read_metadata(kind: MetadataKind, status: int, body: bytes) -> dict[str, Any]:
    """Return metadata of the server. Raise ClientError for an error."""
    if kind == "ready":
        return {"ready": status == 200}
    if status != 200:
        raise error_from_http(status, body)
    return _object(body)


def error_from_http(status: int, body: bytes, streamed: bool = False) -> ClientError:
    """Return the exception for a status other than 200 and its body.

    streamed: whether it is of /generate_stream, where 400 stands for any error.
    """
    try:
        message = str(json.loads(body.removeprefix(b"data: "))["error"])
    except (ValueError, LookupError, TypeError):  # of a proxy or of another server
        words = " ".join(body.decode(errors="replace").split())[:200]
        return error_from_message(f"HTTP {status}: {words}", PROXY_CODES.get(status, Code.UNKNOWN))
    if streamed and status == 400:
        return error_from_message(message)
    return error_from_message(message, OUR_CODES.get(status, Code.UNKNOWN))


class EventParser:
    """Incremental parser of the server-sent events of /generate_stream."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Response]:
        """Return the responses that these bytes complete. Raise ClientError for an error event."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [_event(line) for line in lines if line.startswith(b"data:")]


def _event(line: bytes) -> Response:
    event = _object(line.removeprefix(b"data:"))
    if "error" in event:
        raise error_from_message(str(event["error"]))
    return read_response(event)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise ServerError(f"not an answer of an llm-ensemble server: {body[:80]!r}") from error
    if not isinstance(value, dict):
        raise ServerError(f"not an answer of an llm-ensemble server: {body[:80]!r}")
    return value
