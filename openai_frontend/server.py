# SPDX-License-Identifier: Apache-2.0
"""uvicorn as it is used here: its sockets, protocol, TLS and end."""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
import ssl

import uvicorn
from starlette.types import ASGIApp

from openai_frontend.protection.slow_clients import Limits, bounded
from openai_frontend.settings import FrontendSettings
from openai_frontend.tls import server_context

KEEP_ALIVE_SECONDS = 30  # for the next request on a connection
BACKLOG = 2048
# What a client has not taken waits in the kernel, in this process (64 KB), and then at the app.
SEND_BUFFER_BYTES = 65536
ANY_ADDRESS = {"::": ("::", "0.0.0.0")}


def listening_sockets(host: str, port: int, limits: Limits) -> list[socket.socket]:
    """Return bound sockets whose connections have the kernel's limits. Raise OSError.

    `::` stands for all addresses of both families, as it does for Triton's ports.
    """
    with contextlib.ExitStack() as stack:
        bound = []
        for address in ANY_ADDRESS.get(host, (host,)):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            one = stack.enter_context(socket.socket(family))
            for level, option, value in _options(limits):
                one.setsockopt(level, option, value)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((address, port))
            bound.append(one)
        stack.pop_all()
    return bound


def _options(limits: Limits) -> list[tuple[int, int, int]]:
    """Return socket options, which connections inherit from the socket that listens.

    By them the kernel ends the connection of a client that has gone, or has taken nothing for so long though
    something waits for it. It takes a megabyte before this process notices that.
    """
    seconds = max(1, int(limits.taking_seconds))
    return [
        (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, seconds // 3)),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(limits.taking_seconds * 1000)),
    ]


def make_server(
    app: ASGIApp, settings: FrontendSettings, limits: Limits, drain_seconds: int
) -> uvicorn.Server:
    """Return a server of the app. drain_seconds: what requests have to end once it is told to stop."""

    def context(*_: object) -> ssl.SSLContext:
        return server_context(settings.openai_tls_cert, settings.openai_tls_key)

    config = uvicorn.Config(
        app,
        http=bounded(limits),
        ws="none",
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=drain_seconds,
        ssl_context_factory=context if settings.has_tls else None,
    )
    return uvicorn.Server(config)


def limits_of(settings: FrontendSettings) -> Limits:
    """Return the limits of a connection by the settings."""
    return Limits(settings.openai_max_connections, settings.openai_max_body)


def run(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
    """Serve until SIGTERM or SIGINT, and then until requests have ended."""

    def stop(*_: object) -> None:
        server.should_exit = True

    # Also for a signal before uvicorn has set its own; it raises the signal again at its end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server.run(sockets)


def raise_file_limit() -> None:
    """Let this process open as many connections as the system allows; usually the soft limit is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
