# SPDX-License-Identifier: Apache-2.0
"""A refusal in OpenAI's form, for what is refused before the API is reached."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from starlette.types import Receive, Scope, Send

from openai_frontend.errors import INVALID, ApiError

Headers = Sequence[tuple[bytes, bytes]]


def error_body(status: int, message: str, code: str | None = None, kind: str = INVALID) -> bytes:
    """Return OpenAI's error body as JSON."""
    return ApiError(status, message, kind=kind, code=code).body


async def refuse(send: Send, status: int, body: bytes, headers: Headers = ()) -> None:
    """Send a response of JSON and no more."""
    await _send(send, status, body, headers, has_more=False)


async def refuse_unread(
    scope: Scope, receive: Receive, send: Send, status: int, body: bytes, headers: Headers = ()
) -> None:
    """Send a response of JSON to a request whose body may be on its way; end it when all of that has come.

    A connection that is closed before, as one without keep-alive is at a response's end, is reset by the
    kernel, and a client that sends first and reads then never sees the response.
    """
    is_asked_for = any(name == b"expect" for name, _ in scope["headers"])  # the client waits, and sends none
    await _send(send, status, body, headers, has_more=not is_asked_for)
    if not is_asked_for:
        while (await receive()).get("more_body", False):
            pass
        await send({"type": "http.response.body", "body": b""})


async def _send(send: Send, status: int, body: bytes, headers: Headers, *, has_more: bool) -> None:
    start = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body, "more_body": has_more})


def raw_response(status: int, body: bytes) -> bytes:
    """Return the same as bytes of HTTP/1.1, after which the connection is closed."""
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
