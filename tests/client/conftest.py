# SPDX-License-Identifier: Apache-2.0
"""The fixture `way`: a test that takes it runs over HTTP and gRPC, blocking and asyncio."""

import asyncio
from dataclasses import dataclass

import pytest

from llm_ensemble_client import AsyncClient, Client
from tests.server.conftest import quiet, slow, tight

__all__ = ["quiet", "slow", "tight"]

SECONDS = 60


@dataclass(frozen=True)
class Way:
    """A protocol with the blocking or the asyncio client, behind blocking methods."""

    protocol: str
    is_async: bool

    def url(self, server):
        port = server.ports.http if self.protocol == "http" else server.ports.grpc
        return f"{self.protocol}://{server.ports.host}:{port}"

    def generate(self, server, *prompt, client=None, **fields):
        return self._run(server, client or {}, lambda c: c.generate(*prompt, **fields))

    def stream(self, server, *prompt, client=None, on_piece=None, **fields):
        """Return the stream and its pieces; on_piece is called with each as it comes."""
        take = _take_async if self.is_async else _take
        return self._run(
            server, client or {}, lambda c: take(c, prompt, fields, on_piece or (lambda _: None))
        )

    def status(self, server):
        return self._run(server, {}, lambda c: c.status())

    def _run(self, server, options, ask):
        url = server if isinstance(server, str) else self.url(server)
        if not self.is_async:
            with Client(url, **{"timeout": SECONDS, **options}) as client:
                return ask(client)

        async def asked():
            async with AsyncClient(url, **{"timeout": SECONDS, **options}) as client:
                return await ask(client)

        return asyncio.run(asked())


def _take(client, prompt, fields, on_piece):
    stream, taken = client.stream(*prompt, **fields), []
    for piece in stream:
        on_piece(piece)
        taken.append(piece)
    return stream, taken


async def _take_async(client, prompt, fields, on_piece):
    stream, taken = client.stream(*prompt, **fields), []
    async for piece in stream:
        on_piece(piece)
        taken.append(piece)
    return stream, taken


WAYS = [Way(protocol, is_async) for protocol in ("http", "grpc") for is_async in (False, True)]
NAMES = [f"{way.protocol}-{'asyncio' if way.is_async else 'blocking'}" for way in WAYS]


@pytest.fixture(params=WAYS, ids=NAMES)
def way(request):
    return request.param
