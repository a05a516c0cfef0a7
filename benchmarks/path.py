# SPDX-License-Identifier: Apache-2.0
"""What the path around an engine costs and how it holds up, on an engine that computes nothing.

    python -m benchmarks.path            # every row; three minutes
    python -m benchmarks.path many deep  # some

The rows are those of docs/performance.md. The client runs on the same machine, in processes of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.bench.cpu import cpu_seconds
from benchmarks.bench.driver import GrpcDriver, Target
from benchmarks.bench.load import Load, shares
from benchmarks.bench.prompts import counter, synthetic
from benchmarks.bench.record import Record, Request
from benchmarks.bench.statistics import Run, first_token_seconds, inter_token_seconds, percentile
from benchmarks.bench.workers import Workers
from benchmarks.pace.make_engine import make_pace_engine
from llm_ensemble.manifest import Limits
from serving.tritonserver import Server, free_ports, running

LIMITS = Limits(max_batch_size=512, max_input_len=30_000, max_seq_len=32_768, max_num_tokens=4096)
STREAMS_PER_PROCESS = 128
SHORT = 32  # tokens of a prompt
BIG_PROMPT = 32 * 1024  # bytes
TTFT = 0.05  # seconds


class Served:
    """A server with a pace engine, and its clients."""

    def __init__(self, server: Server, folder: Path, interval: float) -> None:
        self.address = f"127.0.0.1:{server.ports.grpc}"
        self.pid = server.process.pid
        self.interval = interval
        self.prompts = synthetic(64, SHORT, counter(folder / "tokenizer/tokenizer.json"), seed=0)

    def ask(self, streams: int, tokens: int, stream: bool = True) -> Run:
        """Send a request in each of so many streams at once."""
        requests = [Request(self.prompts[i % len(self.prompts)], tokens) for i in range(streams)]
        warm_up = [Request(request.prompt, 20) for request in requests]
        workers = Workers(Target("pace", "grpc", self.address, stream))
        try:
            processes = -(-streams // STREAMS_PER_PROCESS)
            dealt = shares(Load(concurrency=streams), requests, warm_up, processes, 0, 600)
            run = workers.run(dealt, lambda: cpu_seconds(self.pid))
        finally:
            workers.close()
        assert len(run.good) == streams, {record.error for record in run.records}
        return run


@contextlib.contextmanager
def served(interval_ms: float) -> Iterator[Served]:
    """Provide a server whose engine gives a token each `interval_ms` milliseconds."""
    with tempfile.TemporaryDirectory() as name, (Path(name) / "log").open("wb") as log:
        os.environ.update(PACE_TTFT_MS=str(TTFT * 1000), PACE_INTERVAL_MS=str(interval_ms))
        folder = make_pace_engine(Path(name) / "pace", LIMITS)
        with running(folder, free_ports(), log) as server:
            server.wait_ready()
            yield Served(server, folder, interval_ms / 1000)


def show(name: str, text: str) -> None:
    """Print a row."""
    sys.stdout.write(f"{name}: {text}\n")
    sys.stdout.flush()


def cpu_a_token(path: Served, streams: int, tokens: int) -> str:
    """Measure the CPU of all server processes for each streamed token."""
    runs = [path.ask(streams, tokens) for _ in range(3)]
    micros = [run.server_cpu / run.tokens * 1e6 for run in runs if run.server_cpu]
    run = runs[-1]
    chunk = run.tokens / sum(len(record.arrivals) for record in run.good)
    other = (run.machine_cpu or 0) - (run.server_cpu or 0) - run.client_cpu
    return (
        f"{statistics.median(micros):.0f} us of server CPU a token ({min(micros):.0f} to {max(micros):.0f}), "
        f"{chunk:.1f} tokens in a response, server {(run.server_cpu or 0) / run.seconds:.2f} cores, "
        f"client {run.client_cpu / run.seconds:.2f}, others {other / run.seconds:.2f}; {delays(path, run)}"
    )


def delays(path: Served, run: Run) -> str:
    """Measure how late tokens are against the earliest of their stream, and how many of those due arrived."""
    late: list[float] = []
    for record in run.good:
        given, offsets = 0, []
        for arrived, count in record.arrivals:
            offsets += [arrived - (given + k) * path.interval for k in range(count)]
            given += count
        late += [offset - min(offsets) for offset in offsets]
    begin = max(record.arrivals[0][0] for record in run.good)
    over = min(record.arrivals[-1][0] for record in run.good)
    came = sum(n for record in run.good for at, n in record.arrivals if begin < at <= over)
    due_then = len(run.good) * (over - begin) / path.interval
    first = [first_token_seconds(record) - TTFT for record in run.good]
    return (
        f"delivered {came / due_then:.3f} of what was generated, a token's delay p50 "
        f"{percentile(late, 50) * 1000:.0f} ms, p99 {percentile(late, 99) * 1000:.0f} ms, "
        f"first tokens + {percentile(first, 50) * 1000:.0f} ms, p99 + {percentile(first, 99) * 1000:.0f} ms"
    )


def many() -> None:
    """Measure 64 streams of a token each 5 ms, and 256 of one each 10 ms."""
    with served(5) as path:
        show("64 streams, 5 ms", cpu_a_token(path, 64, 1600))
        show("1 stream, 5 ms", cpu_a_token(path, 1, 800))
    with served(10) as path:
        show("256 streams, 10 ms", cpu_a_token(path, 256, 1000))


def deep() -> None:
    """Measure server CPU of 1,000 tokens, 10,000 tokens into a stream over 100 tokens into one."""
    with served(2) as path:
        ratios = []
        for _ in range(3):
            early, late = asyncio.run(_early_and_late(path, 11_000, [(100, 1100), (10_000, 11_000)]))
            ratios.append(late / early)
        show(
            "10,000 tokens in over 100",
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        )


async def _early_and_late(path: Served, tokens: int, windows: list[tuple[int, int]]) -> list[float]:
    """Return the server CPU while 8 streams pass each window."""
    driver = GrpcDriver(Target("pace", "grpc", path.address, True))
    records = [Record(time.monotonic()) for _ in range(8)]
    asked = [
        asyncio.create_task(driver.ask(Request(prompt, tokens), record))
        for prompt, record in zip(path.prompts, records)
    ]
    used = []
    for begin, end in windows:
        await _until(records, begin)
        before = cpu_seconds(path.pid)
        await _until(records, end)
        used.append(cpu_seconds(path.pid) - before)
    await asyncio.gather(*asked)
    await driver.close()
    return used


async def _until(records: list[Record], tokens: int) -> None:
    while min(record.tokens for record in records) < tokens:
        await asyncio.sleep(0.01)


def big() -> None:
    """Measure the inter-token p99 of 8 streams while a prompt of 32 kB arrives each second, over without."""
    with served(20) as path:
        show("32 kB prompts once a second", long_prompts(path.address, path.prompts))


def long_prompts(address: str, prompts: list[str]) -> str:
    """Measure the same on any server; prompts that are too long for its model are refused there."""
    words = itertools.cycle(" ".join(prompts).split())
    text = ""
    while len(text) < BIG_PROMPT:
        text += next(words) + " "
    pairs = []
    for _ in range(3):
        calm = asyncio.run(_gaps(address, prompts[:8], ""))
        busy = asyncio.run(_gaps(address, prompts[:8], text[:BIG_PROMPT]))
        pairs.append((calm, busy))
    seen = ", ".join(f"{calm * 1000:.1f} and {busy * 1000:.1f}" for calm, busy in pairs)
    ratio = statistics.median(busy / calm for calm, busy in pairs)
    return f"ITL p99 {ratio:.2f} of that without (ms: {seen})"


async def _gaps(address: str, prompts: list[str], long_prompt: str) -> float:
    """Return the p99 of the inter-token latencies of a stream of 500 tokens a prompt."""
    driver = GrpcDriver(Target("path", "grpc", address, True))
    records = [Record(time.monotonic()) for _ in prompts]
    asked = [asyncio.create_task(driver.ask(Request(p, 500), r)) for p, r in zip(prompts, records)]
    others = []
    while long_prompt and not all(task.done() for task in asked):
        others.append(asyncio.create_task(driver.ask(Request(long_prompt, 2), Record(time.monotonic()))))
        await asyncio.sleep(1)
    await asyncio.gather(*asked)
    await asyncio.gather(*others, return_exceptions=True)
    await driver.close()
    return percentile([s for record in records for s in inter_token_seconds(record)], 99)


def plain() -> None:
    """Measure 100 requests at a time: streaming over unary."""
    with served(20) as path:
        for stream in (False, True, False, True):
            run = path.ask(100, 400, stream)
            show(
                "100 at a time, " + ("streamed" if stream else "not streamed"),
                f"{run.tokens / run.seconds:.0f} tokens/s, {(run.server_cpu or 0) / run.tokens * 1e6:.0f} us",
            )


def first() -> None:
    """Measure the time to first token of one request, over the engine's own."""
    with served(20) as path:
        runs = [path.ask(1, 20) for _ in range(20)]
        late = [first_token_seconds(run.records[0]) - TTFT for run in runs]
        show(
            "TTFT at 1 over the engine's",
            f"+ {statistics.median(late) * 1000:.1f} ms (max {max(late) * 1000:.1f})",
        )


ROWS: dict[str, Callable[[], None]] = {f.__name__: f for f in (many, deep, big, plain, first)}


def main() -> None:
    """Measure the rows that are named, or all."""
    parser = argparse.ArgumentParser(description="What the path around an engine costs.")
    parser.add_argument("rows", nargs="*", metavar="row", help=f"of {', '.join(ROWS)}; all unless told")
    asked = parser.parse_args().rows or [*ROWS]
    if unknown := [name for name in asked if name not in ROWS]:
        parser.error(f"no row {unknown[0]!r}: take of {', '.join(ROWS)}")
    for name in asked:
        ROWS[name]()


if __name__ == "__main__":
    main()
