# SPDX-License-Identifier: Apache-2.0
"""Measure a server: latency and throughput over a sweep of loads, beside a baseline if asked to.

    python -m client.bench --url localhost:8001 --tokenizer engines/demo/tokenizer/tokenizer.json
    python -m client.bench --serve engines/demo --mode both --baseline engine --concurrency 1,8,32

What the words mean is told in bench_statistics.py. Processes of their own ask, so that their cost is seen.
Exits with 0; 1 and one line `bench: ...` when nothing can be measured; 3 when some requests failed.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from client.bench_arguments import add_arguments, check, loads, targets
from client.bench_cpu import cpu_seconds
from client.bench_driver import Target
from client.bench_load import Load, shares
from client.bench_picture import draw
from client.bench_prompts import Count, counter, counter_of_server, read_prompts, synthetic
from client.bench_record import BenchError, Request
from client.bench_result import describe, write
from client.bench_server import ServerSeen, server, server_environment
from client.bench_statistics import Run, over_runs, ratio
from client.bench_table import table
from client.bench_workers import Workers

__all__ = ["add_arguments", "main", "run"]

REQUESTS_PER_STREAM = 3
SECONDS_OF_RATE = 30
MOST_PROMPTS = 512  # different ones; a server that counts is asked a few times for each
MOST_PROMPTS_ASKED = 64
TOKENIZER = Path("tokenizer/tokenizer.json")  # in an engine directory


def run(arguments: argparse.Namespace) -> int:
    """Measure, show, write; the exit status."""
    try:
        check(arguments)
        result = measure(arguments)
    except BenchError as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    sys.stdout.write("\n" + table(result["points"]))
    return 3 if any(point["errors"] for point in result["points"]) else 0


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every target under every load; the result as it is written. Raises BenchError."""
    with contextlib.ExitStack() as stack:
        seen = stack.enter_context(server(arguments))
        result = describe(arguments, seen.version())
        prompts = _prompts(arguments, seen)
        asked = targets(arguments, seen.address)
        environ = server_environment()
        workers = [Workers(target, environ if target.kind == "engine" else None) for target in asked]
        for one in workers:
            stack.callback(one.close)
        sweep = _Sweep(arguments, asked, workers, prompts, seen.pid)
        result["points"] = [point for load in loads(arguments) for point in sweep.points(load)]
    if arguments.json:
        write(arguments.json, result)
    if arguments.picture:
        draw(arguments.picture, result)
    return result


class _Sweep:
    """What stays the same from load to load."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        asked: list[Target],
        workers: list[Workers],
        prompts: list[str],
        pid: int | None,
    ) -> None:
        self._arguments = arguments
        self._targets = asked
        self._workers = workers
        self._prompts = prompts
        self._pid = pid
        self._sent = 0

    def points(self, load: Load) -> list[dict[str, Any]]:
        """One load: every target in turn, as many times as there are rounds."""
        runs: list[list[Run]] = [[] for _ in self._targets]
        for turn in range(self._arguments.rounds):
            warm_up, requests = self._requests(load)
            for i, target in enumerate(self._targets):
                self._say(f"{load}: round {turn + 1} of {self._arguments.rounds}, {target.name}")
                dealt = self._deal(load, requests, warm_up, target, turn)
                runs[i].append(self._workers[i].run(dealt, self._cpu_of(i, target)))
        self._say("")
        return [self._point(load, i, runs) for i in range(len(self._targets))]

    def _requests(self, load: Load) -> tuple[list[Request], list[Request]]:
        """Before measuring and while; the same for every target of a round, other prompts every round."""
        given = self._arguments
        streams = load.concurrency or 1
        usual = streams * REQUESTS_PER_STREAM if load.concurrency else int(load.rate * SECONDS_OF_RATE)
        number = max(streams, given.requests or usual, 1)
        return self._next(streams * given.warm_up), self._next(number)

    def _next(self, number: int) -> list[Request]:
        first, self._sent = self._sent, self._sent + number
        return [
            Request(self._prompts[i % len(self._prompts)], self._arguments.output_tokens)
            for i in range(first, first + number)
        ]

    def _deal(
        self, load: Load, requests: list[Request], warm_up: list[Request], target: Target, turn: int
    ) -> list[Any]:
        given = self._arguments
        streams = load.concurrency or 1
        processes = 1 if target.kind == "engine" else -(-streams // given.streams_per_process)
        return shares(load, requests, warm_up, processes, given.seed + turn, given.timeout)

    def _cpu_of(self, i: int, target: Target) -> Callable[[], float | None]:
        """Of the server that is ours to see; not of another one that is the baseline."""
        is_baseline = self._arguments.baseline and i == 0
        pid = None if is_baseline else self._pid
        return lambda: None if pid is None else cpu_seconds(pid)

    def _point(self, load: Load, i: int, runs: list[list[Run]]) -> dict[str, Any]:
        target = self._targets[i]
        point = {"load": str(load), "target": target.name, "kind": target.kind, "streamed": target.stream}
        figures = over_runs(runs[i], target.stream)
        if self._arguments.baseline and i > 0:
            point["ratio"] = ratio(runs[i], runs[0])
            theirs = over_runs(runs[0], True)["server_cpu_us_per_token"]
            ours = figures["server_cpu_us_per_token"]
            point["cpu_ratio"] = round(ours / theirs, 4) if ours and theirs else None
        return point | figures

    def _say(self, text: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{text}")
        elif text:
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def _prompts(arguments: argparse.Namespace, seen: ServerSeen) -> list[str]:
    if arguments.prompts:
        return read_prompts(arguments.prompts)
    folder = arguments.engine_dir or arguments.serve
    tokenizer = arguments.tokenizer or (folder / TOKENIZER if folder else None)
    if tokenizer:
        count: Count = counter(tokenizer)
        return synthetic(MOST_PROMPTS, arguments.input_tokens, count, arguments.seed)
    count = counter_of_server(seen.http, arguments.model)
    return synthetic(MOST_PROMPTS_ASKED, arguments.input_tokens, count, arguments.seed)


def main() -> int:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure a server's latency and throughput.")
    add_arguments(parser)
    try:
        return run(parser.parse_args())
    except KeyboardInterrupt:
        sys.stderr.write("bench: stopped\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
