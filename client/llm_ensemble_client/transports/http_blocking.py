# SPDX-License-Identifier: Apache-2.0
"""HTTP for the blocking client, on the standard library: tritonclient's HTTP client cannot stream.

The methods are coroutines that block and never suspend (see transport.py).
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping
from http.client import BadStatusLine, HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any

from llm_ensemble_client.address import Address
from llm_ensemble_client.deadline import Deadline
from llm_ensemble_client.errors import Unreachable
from llm_ensemble_client.request import Fields
from llm_ensemble_client.response import Response
from llm_ensemble_client.transport import CONNECT_SECONDS, MetadataKind
from llm_ensemble_client.transports import http_wire

MAX_READ = 65536  # bytes of one read


class BlockingHttp:
    """Transport over HTTP. Keeps idle connections and reuses them; each carries one request at a time."""

    def __init__(self, address: Address, headers: Mapping[str, str]) -> None:
        self._address, self._headers = address, headers
        self._idle: list[HTTPConnection] = []

    async def infer(self, fields: Fields, deadline: Deadline) -> Response:
        """Send a unary request and return its response."""
        return http_wire.infer_answer(
            *self._whole("POST", http_wire.INFER, http_wire.infer_body(fields), deadline)
        )

    async def metadata(self, kind: MetadataKind, deadline: Deadline) -> dict[str, Any]:
        """Return metadata of the server."""
        return http_wire.read_metadata(kind, *self._whole("GET", http_wire.PATHS[kind], None, deadline))

    async def open(self, fields: Fields, deadline: Deadline) -> BlockingEvents:
        """Start a streaming request and return its responses."""
        with mapped_errors(self._address, deadline):
            body = http_wire.stream_body(fields)
            connection, sock, answer = self._send("POST", http_wire.STREAM, body, deadline)
            if answer.status != 200:
                raise http_wire.error_from_http(
                    answer.status, self._finish(connection, answer), streamed=True
                )
        return BlockingEvents(self, connection, sock, answer, deadline)

    async def sleep(self, seconds: float) -> None:
        """Sleep, in seconds."""
        time.sleep(seconds)

    async def close(self) -> None:
        """Close all connections."""
        while self._idle:
            self._idle.pop().close()

    def keep(self, connection: HTTPConnection) -> None:
        """Keep a connection for reuse; its response has been read to the end."""
        if connection.sock is not None:
            self._idle.append(connection)

    def _whole(self, method: str, path: str, body: bytes | None, deadline: Deadline) -> tuple[int, bytes]:
        with mapped_errors(self._address, deadline):
            connection, _, answer = self._send(method, path, body, deadline)
            return answer.status, self._finish(connection, answer)

    def _finish(self, connection: HTTPConnection, answer: HTTPResponse) -> bytes:
        with close_on_error(connection):
            body = answer.read()
        self.keep(connection)
        return body

    def _send(
        self, method: str, path: str, body: bytes | None, deadline: Deadline
    ) -> tuple[HTTPConnection, socket.socket, HTTPResponse]:
        connection = self._take_idle() or self._connect(deadline)
        with close_on_error(connection):
            connection.sock.settimeout(deadline.remaining())
            headers = {"Content-Type": "application/json", **self._headers}
            connection.request(
                method, self._address.prefix + path, body, headers if body else dict(self._headers)
            )
            sock = connection.sock  # http.client drops it if the server closes after this response
            return connection, sock, connection.getresponse()

    def _connect(self, deadline: Deadline) -> HTTPConnection:
        kind = HTTPSConnection if self._address.is_secure else HTTPConnection
        seconds = min(CONNECT_SECONDS, deadline.remaining())
        connection = kind(self._address.host, self._address.port, timeout=seconds)
        connection.connect()
        return connection

    def _take_idle(self) -> HTTPConnection | None:
        """Return an idle connection that the server has not closed, or None."""
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread took the last one
                connection = self._idle.pop()
                if _is_open(connection.sock):
                    return connection
                connection.close()
        return None


class BlockingEvents:
    """The responses of one /generate_stream request."""

    def __init__(
        self,
        server: BlockingHttp,
        connection: HTTPConnection,
        sock: socket.socket,
        answer: HTTPResponse,
        deadline: Deadline,
    ) -> None:
        self._server, self._connection, self._sock, self._answer = server, connection, sock, answer
        self._deadline, self._events = deadline, http_wire.EventParser()
        self._ready: list[Response] = []
        self._is_open = True

    async def next(self) -> Response | None:
        """Return the next response; None after the last."""
        while not self._ready and self._is_open:
            with mapped_errors(self._server._address, self._deadline):
                self._sock.settimeout(self._deadline.remaining())
                data = self._answer.read1(MAX_READ)
            if not data:
                self._is_open = False
                self._server.keep(self._connection)
            self._ready += self._events.feed(data)
        return self._ready.pop(0) if self._ready else None

    def close(self) -> None:
        """Close the connection, which aborts the request. No-op if it has ended."""
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(OSError):  # also wakes another thread that reads
                self._sock.shutdown(socket.SHUT_RDWR)
            self._answer.close()
            self._connection.close()


@contextlib.contextmanager
def close_on_error(connection: HTTPConnection) -> Iterator[None]:
    """Close the connection if the block raises, also on Ctrl-C."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


@contextlib.contextmanager
def mapped_errors(address: Address, deadline: Deadline) -> Iterator[None]:
    """Raise errors of sockets and http.client as Unreachable or TimedOut."""
    try:
        yield
    except TimeoutError as error:
        deadline.remaining()
        raise Unreachable(f"{address.url} takes no connection") from error
    except (OSError, HTTPException, ValueError, AttributeError) as error:
        # The last two are what http.client raises when another thread has closed the connection.
        reason = ascii(str(error))[1:-1][:200]
        if type(error) is BadStatusLine:  # its text is the bytes received
            reason = "the answer is not HTTP"
        raise Unreachable(f"{address.url}: {reason or type(error).__name__}") from error


def _is_open(sock: socket.socket | None) -> bool:
    if type(sock) is not socket.socket:  # a TLS socket cannot peek
        return False
    sock.settimeout(0)
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
