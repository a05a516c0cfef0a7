# SPDX-License-Identifier: Apache-2.0
"""Many short requests, a third of whose clients disconnect: all end, none is left behind, memory is flat.

    make soak            20,000 requests, 64 at a time; the tests run a short one
    python -m tests.soak --engine-dir engines/demo --requests 20000

Prints the state of every stage and the memory of every process on the way, and a verdict.
"""

import argparse
import asyncio
import collections
import contextlib
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import tritonclient.grpc.aio as grpcclient
from tritonclient.utils import InferenceServerException

from llm_ensemble_client.transports.http_wire import infer_body, stream_body
from tests.asking import tensors
from tests.processes import resident_by_stage
from tests.server.conftest import tapped_server

MAX_GROWTH = 0.05
WARM_UP = 1000  # requests after which memory must not grow
SECONDS = 60  # for a request to end


class Soak:
    """A number of requests, some at a time, of every kind and with every way to end."""

    def __init__(self, tapped, requests, at_once, seed=0):
        self.tapped, self.requests, self.at_once = tapped, requests, at_once
        self.ends = collections.Counter()
        self._kinds = [self._grpc_stream, self._grpc_unary, self._http_stream, self._http_unary]
        self._draw = random.Random(seed)
        self._memory = []

    async def run(self):
        ports = self.tapped.server.ports
        numbers = iter(range(self.requests))
        async with grpcclient.InferenceServerClient(f"{ports.host}:{ports.grpc}") as self._client:
            await self._fill_the_cache()
            workers = [self._work(numbers) for _ in range(self.at_once)]
            await asyncio.gather(*workers)

    async def _fill_the_cache(self):
        """Use every block of the KV cache, which takes memory only when it is first used."""
        full = {"ignore_eos": True, "temperature": 1.0, "max_tokens": 500}
        texts = [{"text_input": f"{number}", **full} for number in range(self.at_once)]
        await asyncio.gather(*map(self._grpc_unary, texts))

    async def _work(self, numbers):
        for number in numbers:
            disconnects_after = self._draw.random() * 0.05 if self._draw.random() < 1 / 3 else None
            send = self._draw.choice(self._kinds)
            request = asyncio.create_task(send(self._fields(number)))
            if disconnects_after is not None:
                await asyncio.wait([request], timeout=disconnects_after)
                request.cancel()
            self.ends[await self._end(request)] += 1
            if number % WARM_UP == 0 and number:
                await self._report(number)

    async def _end(self, request):
        try:
            return await asyncio.wait_for(request, SECONDS)
        except asyncio.CancelledError:
            return "disconnected"
        except InferenceServerException as error:
            return "disconnected" if "CANCELLED" in str(error.status()) else f"error: {error.message()[:60]}"

    def _fields(self, number):
        # Few numbers: a tokenizer caches the last 10,000 words, which would look like growth.
        fields = {"text_input": f"Number {number % 500} of", "max_tokens": self._draw.randint(1, 40)}
        extras = [
            {},
            {"temperature": 1.0, "seed": number},
            {"stop_words": ["the", "a "]},
            {"return_log_probs": True},
            {"temperature": 1.0, "num_return_sequences": 2},
            {"deadline_ms": 30, "ignore_eos": True},
            {"max_tokens": 0},  # refused
        ]
        return {**fields, **self._draw.choice(extras)}

    async def _grpc_stream(self, fields):
        async def requests():
            yield {"model_name": "ensemble", "inputs": tensors(**fields, stream=True)}

        # To the end of the stream: dropped after an error it leaves a reference in tritonserver 2.51.0.
        reasons, refused = [b""], ""
        responses = self._client.stream_infer(requests())
        try:
            async for result, error in responses:
                if error:
                    refused = "refused" if "max_tokens: got 0" in error.message() else error.message()
                else:
                    reasons = result.as_numpy("finish_reason").tolist()
        except asyncio.CancelledError:
            responses.cancel()
            raise
        return refused or self._reason(reasons)

    async def _grpc_unary(self, fields):
        try:
            result = await self._client.infer("ensemble_unary", tensors(**fields))
        except InferenceServerException as error:
            return "refused" if "max_tokens: got 0" in error.message() else error.message()
        return self._reason(result.as_numpy("finish_reason").tolist())

    async def _http_unary(self, fields):
        answer = await self._http("ensemble_unary/infer", infer_body(fields))
        if "max_tokens: got 0" in answer:
            return "refused"
        outputs = json.loads(answer.rpartition("\r\n")[2]).get("outputs", [])
        named = [output["data"] for output in outputs if output["name"] == "finish_reason"]
        return self._reason(named[0] if named else [answer])

    async def _http(self, path, body):
        """Return the whole answer of a connection of its own; it is dropped when the task is cancelled."""
        ports = self.tapped.server.ports
        head = f"POST /v2/models/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        reader, writer = await asyncio.open_connection(ports.host, ports.http)
        try:
            writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
            return (await reader.read()).decode()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _http_stream(self, fields):
        text = await self._http("ensemble/generate_stream", stream_body(fields))
        if "max_tokens: got 0" in text:
            return "refused"
        events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
        reasons = json.loads(events[-1]).get("finish_reason") if events else text
        return self._reason(reasons if isinstance(reasons, list) else [reasons])

    def _reason(self, reasons):
        reasons = {reason.decode() if isinstance(reason, bytes) else str(reason) for reason in reasons}
        return "ended" if reasons <= {"stop", "length", "timeout"} else f"odd end {reasons}"

    async def _report(self, number):
        self._memory.append(await asyncio.to_thread(self.memory))
        growth = {name: f"{self.growth(name):+.1%}" for name in self._memory[0]}
        say(f"{number:6} {self.tapped.state} {self._memory[-1]} MB {growth}")

    def memory(self):
        """Return resident memory in MB by stage."""
        return resident_by_stage(self.tapped.server.process.pid)

    def growth(self, name):
        """Return by what part a stage's memory has grown since the warm-up."""
        return self._memory[-1][name] / self._memory[0][name] - 1

    def verdict(self):
        """Return what is wrong, as a list of sentences; empty if nothing is."""
        self._memory.append(self.memory())
        wrong = [f"{end} ({count})" for end, count in self.ends.items() if end not in GOOD_ENDS]
        wrong += [] if self.tapped.is_empty() else [f"left behind: {self.tapped.state}"]
        grown = [(name, self.growth(name)) for name in self._memory[0]]
        return wrong + [f"{name} grew by {growth:.1%}" for name, growth in grown if growth > MAX_GROWTH]


GOOD_ENDS = {"ended", "disconnected", "refused"}


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def soak(tapped, requests, at_once=64, seed=0):
    """Run it; return what is wrong, and how the requests ended."""
    one = Soak(tapped, requests, at_once, seed)
    started = time.monotonic()
    asyncio.run(one.run())
    tapped.wait(tapped.is_empty)
    say(f"{dict(one.ends)} in {time.monotonic() - started:.0f} s")
    return one.verdict(), one.ends


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine-dir", type=Path, default=Path("engines/demo"))
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--at-once", type=int, default=64)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        tapped_server(asked.engine_dir.resolve(), Path(folder)) as tapped,
    ):
        wrong, _ = soak(tapped, asked.requests, asked.at_once)
    say("soak: " + ("; ".join(wrong) or "every request ended, nothing is left, memory is flat"))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
