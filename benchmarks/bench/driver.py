# SPDX-License-Identifier: Apache-2.0
"""Asking a server: over gRPC or HTTP, streamed or not. Reads of each response only what is measured."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.bench.record import BenchError, Driver, Record, Request


@dataclass(frozen=True)
class Target:
    """What is asked, in the words a worker process needs to open it.

    kind: grpc, http, openai or engine. address: host:port, or an engine directory's path. unary_model: of
    plain gRPC calls, which Triton refuses for an ensemble that streams. pids: of the server, if it is here.
    """

    name: str
    kind: str
    address: str
    stream: bool
    model: str = "ensemble"
    unary_model: str = "ensemble_unary"
    pids: tuple[int, ...] = ()
    is_baseline: bool = False

    async def open(self) -> Driver:
        """Connect, or load the engine."""
        if self.kind == "engine":
            from benchmarks.bench.engine import EngineDriver

            return EngineDriver(self.address)
        if self.kind == "openai":
            from benchmarks.bench.openai import OpenAiDriver

            return OpenAiDriver(self.address, self.model, self.stream)
        return GrpcDriver(self) if self.kind == "grpc" else HttpDriver(self)


class GrpcDriver:
    """tritonclient's asyncio client; each streamed request is one ModelStreamInfer call."""

    def __init__(self, target: Target) -> None:
        import tritonclient.grpc.aio as aio

        self._client = aio.InferenceServerClient(target.address)
        self._target = target

    def prepare(self, requests: list[Request]) -> None:
        """Do nothing: a request's tensors are made when it is sent, as any client does."""

    async def ask(self, request: Request, record: Record) -> None:
        """See Driver.ask."""
        inputs = _tensors(request, self._target.stream)
        if not self._target.stream:
            _note(record, await self._client.infer(self._target.unary_model, inputs))
            return

        async def once() -> AsyncIterator[dict[str, Any]]:
            yield {"model_name": self._target.model, "inputs": inputs}

        failure = None
        async for result, error in self._client.stream_infer(once()):
            if error:
                failure = error
            else:
                _note(record, result)
        # Not before the stream's own end: tritonserver 2.51.0 takes ill a cancel after an error.
        if failure:
            raise failure

    async def close(self) -> None:
        """Close the channel."""
        await self._client.close()


def _tensors(request: Request, stream: bool) -> list[Any]:
    import tritonclient.grpc.aio as aio

    given = (
        ("text_input", "BYTES", np.array([[request.prompt.encode()]], dtype=np.object_)),
        ("max_tokens", "INT32", np.array([[request.output_tokens]], dtype=np.int32)),
        ("ignore_eos", "BOOL", np.array([[True]])),
        ("stream", "BOOL", np.array([[stream]])),
    )
    tensors = []
    for name, datatype, array in given:
        tensor = aio.InferInput(name, [1, 1], datatype)
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    return tensors


def _note(record: Record, result: Any) -> None:
    """Read the two numbers straight from the response: cheaper than arrays, and this is the client's cost."""
    now = time.monotonic()
    response = result.get_response()
    for output, raw in zip(response.outputs, response.raw_output_contents):
        if output.name == "num_output_tokens":
            tokens = int.from_bytes(raw, "little")
            if tokens:
                record.arrivals.append((now, tokens))
        elif output.name == "num_input_tokens":
            record.input_tokens = int.from_bytes(raw, "little")
    record.ended = now


class HttpDriver:
    """Triton's generate endpoints; many connections, kept open."""

    def __init__(self, target: Target) -> None:
        import aiohttp

        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        path = "generate_stream" if target.stream else "generate"
        self._url = f"http://{target.address}/v2/models/{target.model}/{path}"
        self._stream = target.stream

    def prepare(self, requests: list[Request]) -> None:
        """Do nothing."""

    async def ask(self, request: Request, record: Record) -> None:
        """See Driver.ask."""
        fields = {"text_input": request.prompt, "max_tokens": request.output_tokens, "ignore_eos": True}
        async with self._session.post(self._url, json={**fields, "stream": self._stream}) as answer:
            if answer.status != 200:
                raise BenchError((await answer.text())[:300])
            if not self._stream:
                self._note(record, await answer.read())
                return
            async for line in answer.content:
                if line.startswith(b"data:"):
                    self._note(record, line[5:])

    def _note(self, record: Record, event: bytes) -> None:
        now = time.monotonic()
        response = json.loads(event)
        if "error" in response:
            raise BenchError(response["error"])
        if response["num_output_tokens"]:
            record.arrivals.append((now, response["num_output_tokens"]))
        record.input_tokens, record.ended = response["num_input_tokens"], now

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()
