# SPDX-License-Identifier: Apache-2.0
"""A client for llm-ensemble servers: text in, text out, over HTTP and gRPC, blocking and asyncio.

    from client import Client

    with Client("http://localhost:8000") as client:
        print(client.generate("To change the settings,").text)

Errors are a tree, in errors.py. `python -m client --help` is the command line.
"""

from client.asynchronous import AsyncClient, AsyncStream
from client.blocking import Client, Stream
from client.errors import ClientError, InvalidRequest, Overloaded, ServerError, TimedOut, Unreachable
from client.request import Message, Sampling
from client.response import Completion
from client.retry import Retry
from client.status import ModelStatus, Status

__all__ = [
    "AsyncClient",
    "AsyncStream",
    "Client",
    "ClientError",
    "Completion",
    "InvalidRequest",
    "Message",
    "ModelStatus",
    "Overloaded",
    "Retry",
    "Sampling",
    "ServerError",
    "Status",
    "Stream",
    "TimedOut",
    "Unreachable",
]
