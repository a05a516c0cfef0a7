# SPDX-License-Identifier: Apache-2.0
"""Triton's HTTP protocol as far as the client speaks it: paths, bodies, answers. Opens no connection."""

from __future__ import annotations

import json
from typing import Any

from client.errors import ClientError, ServerError
from client.faults import Code, fault
from client.request import Fields
from client.response import Response, read_response
from client.transport import Question
from llm_ensemble.fields import FIELDS

# /generate answers all errors with 400; /infer, which refuses streaming ensembles, has ensemble_unary.
INFER = "/v2/models/ensemble_unary/infer"
STREAM = "/v2/models/ensemble/generate_stream"
PATHS: dict[Question, str] = {
    "ready": "/v2/health/ready",
    "server": "/v2",
    "config": "/v2/models/ensemble/config",
    "statistics": "/v2/models/stats",
}
OUR_CODES = {400: Code.INVALID, 500: Code.INTERNAL, 503: Code.UNAVAILABLE}
PROXY_CODES = {502: Code.UNAVAILABLE, 503: Code.UNAVAILABLE, 504: Code.UNAVAILABLE}


def infer_body(fields: Fields) -> bytes:
    """A body of /infer."""
    inputs = []
    for name, value in fields.items():
        values = value if isinstance(value, list) else [value]
        shape = [1, len(values)]
        inputs.append({"name": name, "datatype": FIELDS[name].datatype, "shape": shape, "data": values})
    return json.dumps({"inputs": inputs}).encode()


def stream_body(fields: Fields) -> bytes:
    """A body of /generate_stream."""
    return json.dumps({**fields, "stream": True}).encode()


def infer_answer(status: int, body: bytes) -> Response:
    """The response in an answer of /infer. Raises the error that it stands for."""
    if status != 200:
        raise http_fault(status, body)
    outputs = _object(body).get("outputs", [])
    return read_response({output["name"]: output["data"] for output in outputs})


def about_answer(question: Question, status: int, body: bytes) -> dict[str, Any]:
    """What the server says of itself."""
    if question == "ready":
        return {"ready": status == 200}
    if status != 200:
        raise http_fault(status, body)
    return _object(body)


def http_fault(status: int, body: bytes, streamed: bool = False) -> ClientError:
    """The error that a status and its body stand for.

    streamed: the status is that of /generate_stream, whose 400 means anything.
    """
    try:
        message = str(json.loads(body.removeprefix(b"data: "))["error"])
    except (ValueError, LookupError, TypeError):  # a proxy's, or another kind of server
        words = " ".join(body.decode(errors="replace").split())[:200]
        return fault(f"HTTP {status}: {words}", PROXY_CODES.get(status, Code.UNKNOWN))
    if streamed and status == 400:
        return fault(message)
    return fault(message, OUR_CODES.get(status, Code.UNKNOWN))


class Events:
    """Server-sent events of /generate_stream, from bytes cut anywhere."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Response]:
        """The responses that are complete with these bytes. Raises the error that an event carries."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [_event(line) for line in lines if line.startswith(b"data:")]


def _event(line: bytes) -> Response:
    event = _object(line.removeprefix(b"data:"))
    if "error" in event:
        raise fault(str(event["error"]))
    return read_response(event)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise ServerError(f"not an answer of an llm-ensemble server: {body[:80]!r}") from error
    if not isinstance(value, dict):
        raise ServerError(f"not an answer of an llm-ensemble server: {body[:80]!r}")
    return value
