# SPDX-License-Identifier: Apache-2.0
"""Bounded connections: what is asked on one beyond the bound is refused."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from openai_frontend.errors import SERVER
from openai_frontend.protection.api_keys import OPEN_PATH
from openai_frontend.protection.refusal import error_body, refuse_unread

BEYOND = "is_beyond_max_connections"  # in a scope's state: set by the protocol (slow_clients.py)
TOO_MANY = error_body(
    503, "too many connections are open: try again later (OPENAI_MAX_CONNECTIONS)", "server_busy", SERVER
)
HEADERS = ((b"retry-after", b"1"), (b"connection", b"close"))


class Connections:
    """Refuses by 503 what the protocol has marked. OPEN_PATH is answered: a full server is not a sick one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is not marked."""
        if scope["type"] == "http" and BEYOND in scope.get("state", ()) and scope["path"] != OPEN_PATH:
            await refuse_unread(scope, receive, send, 503, TOO_MANY, HEADERS)
            return
        await self._app(scope, receive, send)
