# SPDX-License-Identifier: Apache-2.0
"""A proxy that gives a server which listens on `::` its IPv4 clients.

Triton's HTTP front end opens `::` for IPv6 only (libevhtp sets IPV6_V6ONLY), its gRPC server for both. So
IPv4 connections to the HTTP and metrics ports are forwarded to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from serving.errors import TritonError
from serving.listening import Ports

PIECE_BYTES = 65536


@contextlib.contextmanager
def ipv4_proxy(ports: Ports) -> Iterator[None]:
    """Forward IPv4 connections while the context is open, if the host is `::`; do nothing for any other host.

    Raises TritonError when a port is taken.
    """
    if ports.host != "::":
        yield
        return
    loop = asyncio.new_event_loop()
    try:
        servers = [loop.run_until_complete(_listen(port)) for port in (ports.http, ports.metrics)]
    except OSError as error:
        raise TritonError(f"HOST=:: needs the ports on IPv4, too: {error.strerror}") from error
    thread = threading.Thread(target=loop.run_forever, name="IPv4", daemon=True)
    thread.start()
    try:
        yield
    finally:
        for server in servers:
            loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        _close(loop)


async def _listen(port: int) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):  # the server or the client has closed the connection
            await _forward(port, reader, writer)

    return await asyncio.start_server(serve, "0.0.0.0", port)


async def _forward(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Forward until either side closes, then close the other, so that Triton notices client disconnects."""
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(writer.close)
        inner_reader, inner_writer = await asyncio.open_connection("::1", port)
        stack.callback(inner_writer.close)
        directions = [
            asyncio.ensure_future(_copy(reader, inner_writer)),
            asyncio.ensure_future(_copy(inner_reader, writer)),
        ]
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        for direction in directions:
            direction.cancel()
        await asyncio.gather(*directions, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE_BYTES):
        writer.write(piece)
        await writer.drain()


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel the tasks that remain, by which connections close, and close the loop."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
