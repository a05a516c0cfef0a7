# SPDX-License-Identifier: Apache-2.0
"""Bounds on a connection: how long a request may take to come, an answer to be taken, and how much comes.

uvicorn has none of them. Here, in its protocol, and not in a middleware, they cost a stream nothing: a timer
runs only while a client has not taken 64 KB.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from openai_frontend.protection.connections import BEYOND
from openai_frontend.protection.refusal import error_body, raw_response

HEADER_BYTES = 65536  # of a request, and what one read brings beyond that
# Clients send pieces of kilobytes; one of a body in very small ones costs a call each.
BYTES_A_PIECE, FREE_PIECES = 128, 1024
# A body's pieces have a frame each; what is refused by 413 is read and dropped up to here.
RECEIVED_FACTOR, RECEIVED_FREE = 8, 2**20
CLOSED_AT_ONCE_FACTOR = 2  # so many times the connections that are allowed get no answer

LATE = raw_response(408, error_body(408, "the request did not arrive in time", "timeout"))
TOO_MUCH = raw_response(431, error_body(431, "the request's headers are too long"))
MALFORMED = raw_response(400, error_body(400, "the request is no HTTP that can be read"))


@dataclass(frozen=True)
class Limits:
    """What a connection may do.

    connections: how many may be open; body: bytes of a body. arrival_seconds: for a request's headers, and
    then for its body. taking_seconds: for a client to take what is sent.
    """

    connections: int
    body: int
    arrival_seconds: float = 30.0
    taking_seconds: float = 30.0


class TooManyPieces(Exception):
    """A body comes in too many pieces; the parser ends the request."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with these limits. `bounded` makes the class that a server is given."""

    limits: Limits
    _arrival: asyncio.TimerHandle | None = None
    _taking: asyncio.TimerHandle | None = None
    _is_beyond = False
    _in_headers = _is_between = True
    _received = _pieces = _requests = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for headers from now on; close what is far beyond the bound."""
        super().connection_made(transport)
        if len(self.connections) > CLOSED_AT_ONCE_FACTOR * self.limits.connections:
            transport.abort()
            return
        self._is_beyond = len(self.connections) > self.limits.connections
        self._expect_arrival()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the timers."""
        self._arrived()
        self._taken()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and count what has come of this request."""
        if self._arrival is None and self._is_idle:
            self._expect_arrival()
        was_between, requests = self._is_between, self._requests
        super().data_received(data)
        # Where requests follow one another without a pause, not each byte is counted for the right one.
        if self._requests - requests <= was_between:
            self._received += len(data)
        if self._in_headers and self._received > HEADER_BYTES:
            self._close_with(TOO_MUCH)
        elif self._received > RECEIVED_FACTOR * self.limits.body + RECEIVED_FREE:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._in_headers, self._is_between = True, False
        self._received = self._pieces = 0
        self._requests += 1
        if self._arrival is None:
            self._expect_arrival()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; drop what comes after a body."""
        if self._in_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Wait for the body from now on, and start the app."""
        self._in_headers = False
        self._expect_arrival()
        if self._is_beyond and len(self.connections) > self.limits.connections:
            self.scope["state"][BEYOND] = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._pieces += 1
        if self._pieces > self.limits.body // BYTES_A_PIECE + FREE_PIECES:
            raise TooManyPieces
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait no longer."""
        self._is_between = True
        self._arrived()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser refuses in OpenAI's form."""
        self._close_with(MALFORMED)

    def pause_writing(self) -> None:
        """Give the client time to take what waits."""
        super().pause_writing()
        if self._taking is None:
            self._taking = self.loop.call_later(self.limits.taking_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client has taken it."""
        self._taken()
        super().resume_writing()

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    def _expect_arrival(self) -> None:
        self._arrived()
        self._arrival = self.loop.call_later(self.limits.arrival_seconds, self._is_late)

    def _arrived(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def _taken(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def _is_late(self) -> None:
        self._arrival = None
        if self._in_headers and not self._is_idle:
            self.cycle.keep_alive = False  # a further request of the connection: this one has its end first
        else:
            self._close_with(LATE)

    def _close_with(self, response: bytes) -> None:
        """Close the connection, with this response if that of its request has not begun or there is none."""
        if self._is_idle or not self.cycle.response_started:
            self.transport.write(response)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()


def bounded(limits: Limits) -> type[BoundedProtocol]:
    """Return the protocol class with these limits."""
    return type("Bounded", (BoundedProtocol,), {"limits": limits})
