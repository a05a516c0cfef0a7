# SPDX-License-Identifier: Apache-2.0
"""Many streams at once for a long time: each has exactly its text, and memory is flat.

    make load            500 streams at once for ten minutes; SECONDS= STREAMS=. The tests run a short one
    python -m tests.load --seconds 600 --streams 500

The pace engine repeats a prompt, so the text of each stream is known in full: a chunk that is lost, repeated
or sent to another stream is noticed. It is served by `serve` with its watchdog. Half of the streams use HTTP,
half gRPC. Prints memory on the way, and a verdict.
"""

import argparse
import asyncio
import collections
import random
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.pace.make_engine import END_ID, PAD_ID, make_pace_engine
from llm_ensemble.preprocessing.preprocessor import load_tokenizer
from llm_ensemble_client import AsyncClient, ClientError
from tests.processes import resident_by_stage
from tests.server.serving import served

# Two tokens a second each: a thousand chunks a second in all, which two cores can carry beside their client.
INTERVAL_MS = 500
TOKENS = (10, 30)
REPORT_SECONDS = 10
WARM_UP = 0.5  # of the time, after which memory must not grow
MAX_GROWTH = 0.05


class Load:
    """A number of streams at once, each followed by another until the time is over."""

    def __init__(self, server, tokenizer, streams, seconds):
        self._server, self._tokenizer = server, tokenizer
        self._streams, self._seconds = streams, seconds
        self._draw = random.Random(0)
        self._open = set()  # streams that have some text, not all
        self.max_at_once = 0
        self.ends = collections.Counter()
        self.memory = []

    async def run(self):
        ports = self._server.ports
        urls = (ports.http_url, f"grpc://{ports.host}:{ports.grpc}")
        self._started = time.monotonic()
        reporting = asyncio.create_task(self._report())
        async with AsyncClient(urls[0], retries=False) as http, AsyncClient(urls[1], retries=False) as grpc:
            await asyncio.gather(*(self._work(i, (http, grpc)[i % 2]) for i in range(self._streams)))
        reporting.cancel()

    async def _work(self, number, client):
        while time.monotonic() - self._started < self._seconds and self._server.process.poll() is None:
            self.ends[await self._stream(number, client)] += 1
            self._open.discard(number)

    async def _stream(self, number, client):
        prompt, tokens = f"Number {number} of", self._draw.randint(*TOKENS)
        pieces = []
        try:
            async with client.stream(prompt, max_tokens=tokens, ignore_eos=True) as stream:
                async for piece in stream:
                    pieces.append(piece)
                    self._open.add(number)
                    self.max_at_once = max(self.max_at_once, len(self._open))
        except ClientError as error:
            return f"{type(error).__name__}: {error}"
        expected = (self._expected_text(prompt, tokens), tokens, "length")
        done = stream.completion
        seen = ("".join(pieces), done.num_output_tokens, done.finish_reason)
        return GOOD if seen == expected else f"{seen} instead of {expected}"

    def _expected_text(self, prompt, tokens):
        ids = [one for one in self._tokenizer.encode(prompt).ids if one not in (END_ID, PAD_ID)]
        return self._tokenizer.decode([ids[k % len(ids)] for k in range(tokens)])

    async def _report(self):
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            seconds = time.monotonic() - self._started
            self.memory.append(
                (seconds, await asyncio.to_thread(resident_by_stage, self._server.process.pid))
            )
            say(f"{seconds:4.0f} s {dict(self.ends)} {self.memory[-1][1]} MB")

    def verdict(self, max_growth):
        """Return what is wrong, as a list of sentences; empty if nothing is. max_growth: of memory."""
        wrong = [f"{end} ({count})" for end, count in self.ends.most_common(5) if end != GOOD]
        if self.max_at_once < 0.95 * self._streams:
            wrong.append(f"only {self.max_at_once} streams at once")
        warm = [memory for seconds, memory in self.memory if seconds >= WARM_UP * self._seconds]
        for name in warm[0] if warm else ():
            growth = warm[-1][name] / warm[0][name] - 1
            wrong += [f"{name} grew by {growth:.1%}"] if growth > max_growth else []
        return wrong


GOOD = "whole"


def load(folder, streams, seconds, interval_ms=INTERVAL_MS, max_growth=MAX_GROWTH):
    """Run it; return what is wrong, and how many streams were whole."""
    engine = make_pace_engine(folder / "pace")
    with served(engine, folder / "log", PACE_INTERVAL_MS=interval_ms) as server:
        one = Load(server, load_tokenizer(engine), streams, seconds)
        asyncio.run(one.run())
        wrong = one.verdict(max_growth)
        server.process.terminate()
        status = server.process.wait(60)
        wrong += [f"serve ended with {status}"] if status else []
    say(f"{one.max_at_once} streams at once, {one.ends[GOOD]} whole")
    return wrong, one.ends[GOOD]


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=600)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wrong, _ = load(Path(folder), asked.streams, asked.seconds)
    say("load: " + ("; ".join(wrong) or "every stream was whole, memory is flat"))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
