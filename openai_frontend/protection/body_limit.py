# SPDX-License-Identifier: Apache-2.0
"""A limit on bodies. A body is taken whole before the app gets the request: JSON is of no use before."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openai_frontend.protection.refusal import error_body, refuse_unread


class BodyLimit:
    """Refuses a body that is longer by 413: at once by its content-length, else when that much has come.

    The rest of it is read and dropped (for a while: slow_clients.py), so that clients that send first and
    read then get the answer.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self._most = app, most
        message = f"the body is longer than {most} bytes, which is this server's limit (OPENAI_MAX_BODY)"
        self._too_long = error_body(413, message, "request_too_large")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its whole body as one message."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if announced_length(scope) > self._most:
            await refuse_unread(scope, receive, send, 413, self._too_long)
            return
        body = bytearray()
        message = await receive()
        while message["type"] == "http.request":
            body += message.get("body", b"")
            if len(body) > self._most:
                await refuse_unread(scope, receive, send, 413, self._too_long)
                return
            if not message.get("more_body", False):
                await self._app(scope, _then(bytes(body), receive), send)
                return
            message = await receive()


def announced_length(scope: Scope) -> int:
    """Return the content-length; 0 without one. The parser has refused what is no number."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value)
    return 0


def _then(body: bytes, receive: Receive) -> Receive:
    """Return a receive that gives the body first, and then what comes, which is the client's leaving."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_next() -> Message:
        return messages.pop() if messages else await receive()

    return receive_next
