# SPDX-License-Identifier: Apache-2.0
"""A client for llm-ensemble servers: text in, text out, over HTTP and gRPC, blocking and asyncio.

    from llm_ensemble_client import Client

    with Client("http://localhost:8000") as client:
        print(client.generate("To change the settings,").text)

The exceptions are in errors.py. `python -m llm_ensemble_client --help` is the command line.
"""

from llm_ensemble_client.async_client import AsyncClient, AsyncStream
from llm_ensemble_client.calls import AsyncResponses
from llm_ensemble_client.client import Client, Stream
from llm_ensemble_client.errors import (
    ClientError,
    InvalidRequest,
    Overloaded,
    ServerError,
    TimedOut,
    Unreachable,
)
from llm_ensemble_client.request import Message, Sampling
from llm_ensemble_client.response import Completion, Response
from llm_ensemble_client.retry import Retry
from llm_ensemble_client.status import ModelStatus, Status

__all__ = [
    "AsyncClient",
    "AsyncResponses",
    "AsyncStream",
    "Client",
    "ClientError",
    "Completion",
    "InvalidRequest",
    "Message",
    "ModelStatus",
    "Overloaded",
    "Response",
    "Retry",
    "Sampling",
    "ServerError",
    "Status",
    "Stream",
    "TimedOut",
    "Unreachable",
]
