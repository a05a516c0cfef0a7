# SPDX-License-Identifier: Apache-2.0
"""The outermost middleware: sees every request, whoever answers it, and tells metrics and log of its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable, MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openai_frontend.errors import SERVER, internal
from openai_frontend.protection.refusal import error_body, refuse
from openai_frontend.request_ids import HEADER, request_id
from openai_frontend.telemetry.metrics import PATH, Metrics
from openai_frontend.telemetry.request_log import RequestLog

OTHER = "other"  # the route of what is none
LOG_FIELDS = "log_fields"
STOPPING = error_body(503, "the server is stopping", "server_stopping", SERVER)
FAILED = internal().body


def log_fields(scope: Scope) -> MutableMapping[str, Any]:
    """Return what an app may add to its request's line in the log: numbers, short texts, no prompts."""
    fields: MutableMapping[str, Any] = scope.setdefault("state", {}).setdefault(LOG_FIELDS, {})
    return fields


class Observed:
    """Passes everything on. known_paths: the routes without parameters, for what never reaches the router.

    Of a stream's events it looks at two keys. What the app fails on gets a response here, as OpenAI's.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, log: RequestLog, known_paths: Iterable[str]) -> None:
        self._app, self._metrics, self._log = app, metrics, log
        self._known_paths = frozenset((*known_paths, PATH))
        self.cut = 0  # requests that had not ended when the server did

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; count and log at the end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            self._log.flush()  # the lifespan has ended
            return
        seen = Seen(send, request_id(scope))
        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, seen.send)
        except asyncio.CancelledError:  # by uvicorn, when the time to drain is over
            self.cut += 1
            if not seen.status:
                await refuse(seen.send, 503, STOPPING)
        except BaseException:
            if not seen.status:
                await refuse(seen.send, 500, FAILED)
            raise  # uvicorn writes it to the log, and closes the connection if the response had begun
        finally:
            self._metrics.in_flight.dec()
            self._end(scope, seen)

    def _end(self, scope: Scope, seen: Seen) -> None:
        seconds = time.perf_counter() - seen.started
        route = self._route(scope)
        status = seen.status or 499  # the client left before there was one
        self._metrics.count(route, scope["method"], status, seconds, is_whole=seen.is_whole)
        fields = {
            "id": request_id(scope),
            "method": scope["method"],
            "route": route,
            "status": status,
            "whole": seen.is_whole,
            "duration_ms": round(seconds * 1000, 1),
            **log_fields(scope),
        }
        self._log.take(route, status, fields)

    def _route(self, scope: Scope) -> str:
        path = getattr(scope.get("route"), "path", None) or scope["path"]
        return path if path in self._known_paths or "route" in scope else OTHER


class Seen:
    """What was sent of one response. status: 0 before it begins. It has the request's id as a header."""

    __slots__ = ("_id", "_send", "is_whole", "started", "status")

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._id = send, request_id.encode()
        self.started = time.perf_counter()
        self.status = 0
        self.is_whole = False

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a message on. Not a coroutine of its own, which would be one more a token."""
        if message["type"] == "http.response.body":
            if not message.get("more_body", False):
                self.is_whole = True
        elif message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message.get("headers", ())
            if all(name != HEADER for name, _ in headers):
                message["headers"] = [*headers, (HEADER, self._id)]
        return self._send(message)
