# SPDX-License-Identifier: Apache-2.0
"""Asking a server with OpenAI's completions API, such as `vllm serve`: streamed or not."""

from __future__ import annotations

import itertools
import json
import time
import urllib.request
from typing import Any

from benchmarks.bench.record import BenchError, Record, Request

END = b"[DONE]"


def first_model(address: str) -> str:
    """Return the first model that a server lists. Raise BenchError."""
    url = f"http://{address}/v1/models"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(json.load(answer)["data"][0]["id"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise BenchError(f"{url} does not tell its models: {error}") from error


class OpenAiDriver:
    """POST /v1/completions; many connections, kept open.

    An event does not say how many tokens it has: a server that lags puts several into one. Only the usage at
    the end counts them, so the tokens after the first event are shared out among the others.
    """

    def __init__(self, address: str, model: str, stream: bool) -> None:
        import aiohttp

        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        self._url = f"http://{address}/v1/completions"
        self._fields: dict[str, Any] = {"model": model, "temperature": 0, "ignore_eos": True}
        if stream:
            self._fields |= {"stream": True, "stream_options": {"include_usage": True}}

    def prepare(self, requests: list[Request]) -> None:
        """Do nothing."""

    async def ask(self, request: Request, record: Record) -> None:
        """See Driver.ask."""
        fields = {**self._fields, "prompt": request.prompt, "max_tokens": request.output_tokens}
        async with self._session.post(self._url, json=fields) as answer:
            if answer.status != 200:
                raise BenchError((await answer.text())[:300])
            if "stream" in fields:
                moments, usage = await _read_events(answer.content)
            else:
                content = await answer.read()
                moments, usage = [time.monotonic()], _usage(json.loads(content))
        record.ended = moments[-1]
        record.input_tokens = usage["prompt_tokens"]
        record.arrivals += shared_out(moments, usage["completion_tokens"])

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


async def _read_events(lines: Any) -> tuple[list[float], dict[str, int]]:
    """Return when each event with text came, and the usage. Raise BenchError for a torn stream."""
    moments: list[float] = []
    usage, ended = None, False
    async for line in lines:
        if not line.startswith(b"data:"):
            continue
        now, event = time.monotonic(), line[5:].strip()
        if event == END:
            ended = True
            continue
        content = json.loads(event)
        if content.get("error"):
            raise BenchError(json.dumps(content["error"])[:300])
        if content["choices"]:
            moments.append(now)
        if content.get("usage"):
            usage = _usage(content)
    if not ended or not moments or usage is None:
        raise BenchError("the stream ended without its usage or its [DONE]")
    return moments, usage


def _usage(content: dict[str, Any]) -> dict[str, int]:
    try:
        return {name: int(content["usage"][name]) for name in ("prompt_tokens", "completion_tokens")}
    except (KeyError, TypeError) as error:
        raise BenchError(f"no usage in {json.dumps(content)[:200]}") from error


def shared_out(moments: list[float], tokens: int) -> list[tuple[float, int]]:
    """Return arrivals: one token at the first moment, the others as evenly as whole numbers can be."""
    moments = moments[:tokens]  # some servers end with an event that has no token
    if len(moments) < 2:
        return [(moment, tokens) for moment in moments]
    others = len(moments) - 1
    bounds = [1 + (tokens - 1) * i // others for i in range(others + 1)]
    counts = [1, *(after - before for before, after in itertools.pairwise(bounds))]
    return list(zip(moments, counts))
