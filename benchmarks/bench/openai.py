# SPDX-License-Identifier: Apache-2.0
"""Asking a server with OpenAI's completions API, such as `vllm serve`: streamed or not."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

from benchmarks.bench.record import BenchError, Record, Request

END = b"[DONE]"
Event = tuple[float, int]  # when it came, and the characters of its text


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
    the end counts them, so the tokens after the first event are shared out among the others by their texts.
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
                events, usage = await _read_events(answer.content)
            else:
                content = await answer.read()
                events, usage = [(time.monotonic(), 0)], _usage(json.loads(content))
        record.ended = events[-1][0]
        record.input_tokens = usage["prompt_tokens"]
        record.arrivals += shared_out(events, usage["completion_tokens"])

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


async def _read_events(lines: Any) -> tuple[list[Event], dict[str, int]]:
    """Return the events that have tokens, and the usage. Raise BenchError for a torn stream."""
    events: list[Event] = []
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
        for choice in content["choices"]:
            if choice["text"] or not choice.get("finish_reason") or not events:  # some say the end apart
                events.append((now, len(choice["text"])))
        if content.get("usage"):
            usage = _usage(content)
    if not ended or not events or usage is None:
        raise BenchError("the stream ended without its usage or its [DONE]")
    return events, usage


def _usage(content: dict[str, Any]) -> dict[str, int]:
    try:
        return {name: int(content["usage"][name]) for name in ("prompt_tokens", "completion_tokens")}
    except (KeyError, TypeError) as error:
        raise BenchError(f"no usage in {json.dumps(content)[:200]}") from error


def shared_out(events: list[Event], tokens: int) -> list[tuple[float, int]]:
    """Return arrivals: one token with the first event, the others by the lengths of the texts.

    At least one each where there are enough: a server that puts one into each event is seen exactly.
    """
    events = events[: max(1, tokens)]
    if len(events) < 2:
        return [(moment, tokens) for moment, _ in events]
    arrivals, given, passed = [(events[0][0], 1)], 1, 0
    left, length = len(events) - 1, sum(characters for _, characters in events[1:])
    for moment, characters in events[1:]:
        left, passed = left - 1, passed + characters
        due = 1 + round((tokens - 1) * passed / length) if length else tokens - left
        now = max(given + 1, min(due, tokens - left))
        arrivals.append((moment, now - given))
        given = now
    return arrivals
