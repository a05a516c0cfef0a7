# SPDX-License-Identifier: Apache-2.0
"""A small API behind everything that protects and observes the frontend, on a real port."""

import asyncio
import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import threading

from fastapi import FastAPI, Request, Response

from openai_frontend.assemble import assemble
from openai_frontend.protection.slow_clients import Limits
from openai_frontend.server import listening_sockets
from openai_frontend.settings import FrontendSettings
from openai_frontend.telemetry.observe import log_fields
from tests.waiting import SECONDS, wait_for

HOST = "127.0.0.1"
PATHS = ("/health", "/v1/models", "/v1/length", "/v1/fails", "/v1/stream", "/v1/names")


class SmallApi:
    """Routes as the real API has them: JSON, a stream that ends when its client leaves, one that fails."""

    def __init__(self):
        self.asked, self.left = [], threading.Event()
        self.routes = FastAPI()
        for path in ("/health", "/v1/models"):
            self.routes.get(path)(lambda: {})
        self.routes.post("/v1/length")(self.length)
        self.routes.get("/v1/names/{name}")(self.name)

    async def __call__(self, scope, receive, send):
        if scope.get("path") == "/v1/stream":
            pause, _, size = scope["query_string"].partition(b",")
            await self.stream(receive, send, float(pause or 0), bytes(int(size or 16384)))
        elif scope.get("path") == "/v1/fails":
            raise ZeroDivisionError
        else:
            await self.routes(scope, receive, send)

    async def length(self, request: Request):
        self.asked.append("length")
        return Response(str(len(await request.body())))

    async def name(self, name: str, request: Request):
        log_fields(request.scope)["user"] = name
        return {}

    async def stream(self, receive, send, pause, piece):
        """Send a piece until the client leaves, with a pause in seconds after each."""
        self.asked.append("stream")
        await receive()

        async def write():
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                await asyncio.sleep(pause)

        writing = asyncio.ensure_future(write())
        try:
            assert (await receive())["type"] == "http.disconnect"
            self.left.set()
        finally:
            writing.cancel()


class Running:
    """A server that runs in a thread."""

    def __init__(self, api, assembled, port):
        self.api, self.assembled, self.port = api, assembled, port

    @property
    def connections(self):
        return len(self.assembled.server.server_state.connections)

    def ask(self, method, path, body=None, headers=None, **more):
        """Return status, headers and body of a request on a connection of its own."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {}, **more)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def connect(self):
        """Return a socket that is connected to it."""
        return socket.create_connection((HOST, self.port), timeout=SECONDS)


@contextlib.contextmanager
def protected(settings=None, *, log_format="text", drain_seconds=5, **limits):
    """Run the small API with these settings and limits of a connection."""
    settings = settings or FrontendSettings()
    bounds = Limits(settings.openai_max_connections, settings.openai_max_body, **limits)
    api = SmallApi()
    (listener,) = listening_sockets(HOST, 0, bounds)
    port = listener.getsockname()[1]
    assembled = assemble(
        api, PATHS, settings, drain_seconds=drain_seconds, log_format=log_format, limits=bounds
    )
    thread = threading.Thread(target=assembled.server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        wait_for(lambda: assembled.server.started)
        yield Running(api, assembled, port)
    finally:
        assembled.server.should_exit = True
        thread.join(SECONDS)
        assert not thread.is_alive()


def error_of(body):
    """Return OpenAI's error of a body, which must have its four fields and no more."""
    error = json.loads(body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    return error


def read_raw(connection):
    """Return status and body of the response on a socket that the server closes."""
    raw = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            raw += piece
    head, _, body = raw.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, body


def make_certificate(folder):
    """Make a certificate of this machine's loopback; its paths and that of its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", f"subjectAltName=IP:{HOST}"),
            *("-out", str(certificate), "-keyout", str(key)),
        ],
        check=True,
        capture_output=True,
    )
    return str(certificate), str(key)


def trusting(certificate):
    """Return a client's context that trusts this certificate alone."""
    return ssl.create_default_context(cafile=certificate)
