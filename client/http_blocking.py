# SPDX-License-Identifier: Apache-2.0
"""HTTP for the blocking client, on the standard library: tritonclient's HTTP client cannot stream.

The methods are coroutines for the logic's sake and block (transport.py).
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any

from client import http_wire
from client.address import Address
from client.deadline import Deadline
from client.errors import Unreachable
from client.request import Fields
from client.response import Response
from client.transport import CONNECT_SECONDS, Question

READ = 65536  # bytes at most at a time


class BlockingHttp:
    """A server asked over HTTP; connections are kept and used again, one request at a time each."""

    def __init__(self, address: Address, headers: Mapping[str, str]) -> None:
        self._address, self._headers = address, headers
        self._idle: list[HTTPConnection] = []

    async def infer(self, fields: Fields, deadline: Deadline) -> Response:
        """Ask for one response."""
        return http_wire.infer_answer(
            *self._whole("POST", http_wire.INFER, http_wire.infer_body(fields), deadline)
        )

    async def about(self, question: Question, deadline: Deadline) -> dict[str, Any]:
        """What the server says of itself."""
        return http_wire.about_answer(
            question, *self._whole("GET", http_wire.PATHS[question], None, deadline)
        )

    async def open(self, fields: Fields, deadline: Deadline) -> BlockingEvents:
        """Ask for a response a chunk."""
        with faults(self._address, deadline):
            body = http_wire.stream_body(fields)
            connection, sock, answer = self._send("POST", http_wire.STREAM, body, deadline)
            if answer.status != 200:
                raise http_wire.http_fault(answer.status, self._finish(connection, answer), streamed=True)
        return BlockingEvents(self, connection, sock, answer, deadline)

    async def sleep(self, seconds: float) -> None:
        """Do nothing for so long."""
        time.sleep(seconds)

    async def close(self) -> None:
        """Let go of the connections."""
        while self._idle:
            self._idle.pop().close()

    def keep(self, connection: HTTPConnection) -> None:
        """Take back a connection whose answer has been read to its end."""
        if connection.sock is not None:
            self._idle.append(connection)

    def _whole(self, method: str, path: str, body: bytes | None, deadline: Deadline) -> tuple[int, bytes]:
        with faults(self._address, deadline):
            connection, _, answer = self._send(method, path, body, deadline)
            return answer.status, self._finish(connection, answer)

    def _finish(self, connection: HTTPConnection, answer: HTTPResponse) -> bytes:
        with closed_on_error(connection):
            body = answer.read()
        self.keep(connection)
        return body

    def _send(
        self, method: str, path: str, body: bytes | None, deadline: Deadline
    ) -> tuple[HTTPConnection, socket.socket, HTTPResponse]:
        connection = self._idle_one() or self._connect(deadline)
        with closed_on_error(connection):
            connection.sock.settimeout(deadline.left())
            headers = {"Content-Type": "application/json", **self._headers}
            connection.request(
                method, self._address.prefix + path, body, headers if body else dict(self._headers)
            )
            sock = connection.sock  # http.client forgets it when the answer is the connection's last
            return connection, sock, connection.getresponse()

    def _connect(self, deadline: Deadline) -> HTTPConnection:
        kind = HTTPSConnection if self._address.is_secure else HTTPConnection
        seconds = min(CONNECT_SECONDS, deadline.left())
        connection = kind(self._address.host, self._address.port, timeout=seconds)
        connection.connect()
        return connection

    def _idle_one(self) -> HTTPConnection | None:
        """A kept connection that the server has not closed meanwhile."""
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread was faster
                connection = self._idle.pop()
                if _is_open(connection.sock):
                    return connection
                connection.close()
        return None


class BlockingEvents:
    """The events of one /generate_stream."""

    def __init__(
        self,
        server: BlockingHttp,
        connection: HTTPConnection,
        sock: socket.socket,
        answer: HTTPResponse,
        deadline: Deadline,
    ) -> None:
        self._server, self._connection, self._sock, self._answer = server, connection, sock, answer
        self._deadline, self._events = deadline, http_wire.Events()
        self._ready: list[Response] = []
        self._is_open = True

    async def next(self) -> Response | None:
        """The next response; None after the last."""
        while not self._ready and self._is_open:
            with faults(self._server._address, self._deadline):
                self._sock.settimeout(self._deadline.left())
                data = self._answer.read1(READ)
            if not data:
                self._is_open = False
                self._server.keep(self._connection)
            self._ready += self._events.feed(data)
        return self._ready.pop(0) if self._ready else None

    def close(self) -> None:
        """Drop the connection, which ends the request."""
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(OSError):  # also wakes another thread that reads
                self._sock.shutdown(socket.SHUT_RDWR)
            self._answer.close()
            self._connection.close()


@contextlib.contextmanager
def closed_on_error(connection: HTTPConnection) -> Iterator[None]:
    """Close a connection that something went wrong on, Ctrl-C included."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


@contextlib.contextmanager
def faults(address: Address, deadline: Deadline) -> Iterator[None]:
    """Turn what sockets and http.client raise into the client's own errors."""
    try:
        yield
    except TimeoutError as error:
        deadline.left()
        raise Unreachable(f"{address.url} takes no connection") from error
    except (OSError, HTTPException, ValueError, AttributeError) as error:
        # The last two are what http.client raises when another thread has closed the connection.
        words = ascii(str(error))[1:-1][:200]  # of a server that speaks something else, its bytes
        raise Unreachable(f"{address.url}: {words or type(error).__name__}") from error


def _is_open(sock: socket.socket | None) -> bool:
    if type(sock) is not socket.socket:  # TLS cannot look ahead
        return False
    sock.settimeout(0)
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
