# SPDX-License-Identifier: Apache-2.0
"""A server with a real engine: its start, what the prefix cache saves, long prompts beside streams.

    python -m benchmarks.served engines/opt-125m-random

Ratios and times as in docs/performance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.bench.driver import GrpcDriver, Target
from benchmarks.bench.prompts import counter, synthetic
from benchmarks.bench.record import Record, Request
from benchmarks.bench.statistics import first_token_seconds
from benchmarks.path import long_prompts
from serving.tritonserver import Server, free_ports, running

STARTS = 3
PREFIX, TAIL = 1000, 16  # tokens
PREFIXES = 5


def start(folder: Path) -> str:
    """Measure the time from starting the server to its first 200 of /v2/health/ready."""
    seconds = []
    for _ in range(STARTS):
        with tempfile.TemporaryFile() as log:
            begin = time.monotonic()
            with running(folder, free_ports(), log) as server:
                server.wait_ready()
                seconds.append(time.monotonic() - begin)
    return f"ready after {', '.join(f'{one:.1f}' for one in seconds)} s"


def prefix(folder: Path) -> str:
    """Measure the time to first token of a second prompt with the same beginning, over the first's."""
    count = counter(folder / "tokenizer/tokenizer.json")
    beginnings = synthetic(PREFIXES, PREFIX, count, seed=1)
    tails = synthetic(2 * PREFIXES, TAIL, count, seed=2)
    with tempfile.TemporaryFile() as log, running(folder, free_ports(), log) as server:
        server.wait_ready()
        asyncio.run(_first_token(server, synthetic(1, PREFIX, count, seed=3)[0]))  # warms up
        ratios = []
        for i, beginning in enumerate(beginnings):
            first = asyncio.run(_first_token(server, f"{beginning} {tails[2 * i]}"))
            second = asyncio.run(_first_token(server, f"{beginning} {tails[2 * i + 1]}"))
            ratios.append(second / first)
            sys.stderr.write(f"first {first * 1000:.0f} ms, second {second * 1000:.0f} ms\n")
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}) of the first one's time"


def beside_long_prompts(folder: Path) -> str:
    """Measure long prompts beside streams, as benchmarks.path does."""
    prompts = synthetic(8, 32, counter(folder / "tokenizer/tokenizer.json"), seed=4)
    with tempfile.TemporaryFile() as log, running(folder, free_ports(), log) as server:
        server.wait_ready()
        return long_prompts(f"127.0.0.1:{server.ports.grpc}", prompts)


async def _first_token(server: Server, prompt: str) -> float:
    driver = GrpcDriver(Target("served", "grpc", f"127.0.0.1:{server.ports.grpc}", True))
    record = Record(time.monotonic())
    await driver.ask(Request(prompt, 4), record)
    await driver.close()
    return first_token_seconds(record)


def main() -> None:
    """Measure all three."""
    parser = argparse.ArgumentParser(description="Start of a server; what the prefix cache saves.")
    parser.add_argument("engine_dir", type=Path)
    folder = parser.parse_args().engine_dir
    sys.stdout.write(f"start: {start(folder)}\n")
    sys.stdout.write(f"the same {PREFIX} tokens before: first token in {prefix(folder)}\n")
    sys.stdout.write(f"32 kB prompts once a second: {beside_long_prompts(folder)}\n")


if __name__ == "__main__":
    main()
