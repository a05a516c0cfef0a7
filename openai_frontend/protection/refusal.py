# SPDX-License-Identifier: Apache-2.0
"""A refusal in OpenAI's form, for what is refused before the API is reached."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from starlette.types import Send

from openai_frontend.errors import INVALID, ApiError

Headers = Sequence[tuple[bytes, bytes]]


def error_body(status: int, message: str, code: str | None = None, kind: str = INVALID) -> bytes:
    """Return OpenAI's error body as JSON."""
    return ApiError(status, message, kind=kind, code=code).body


async def refuse(send: Send, status: int, body: bytes, headers: Headers = ()) -> None:
    """Send a response of JSON and no more."""
    start = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})


def raw_response(status: int, body: bytes) -> bytes:
    """Return the same as bytes of HTTP/1.1, after which the connection is closed."""
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
