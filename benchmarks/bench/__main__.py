# SPDX-License-Identifier: Apache-2.0
"""Measure a server: latency and throughput over a sweep of loads, beside a baseline if asked to.

    python -m benchmarks.bench --url localhost:8001 --tokenizer engines/demo/tokenizer/tokenizer.json
    python -m benchmarks.bench --serve engines/demo --mode both --baseline engine --concurrency 1,8,32

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

from benchmarks.bench.arguments import add_arguments, check, loads, request_counts, targets
from benchmarks.bench.cpu import cpu_seconds
from benchmarks.bench.driver import Target
from benchmarks.bench.load import Load, shares
from benchmarks.bench.picture import draw
from benchmarks.bench.prompts import Count, counter, counter_of_server, read_prompts, synthetic
from benchmarks.bench.record import BenchError, Request
from benchmarks.bench.result import describe, write
from benchmarks.bench.server import ServerSeen, server
from benchmarks.bench.statistics import Run, over_baseline, over_runs, ratio
from benchmarks.bench.table import table
from benchmarks.bench.workers import Workers

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
    """Measure every target under every load; return the result as it is written. Raise BenchError."""
    with contextlib.ExitStack() as stack:
        seen = stack.enter_context(server(arguments))
        result = describe(arguments, seen.version())
        prompts = _prompts(arguments, seen)
        asked = targets(arguments, seen.address, seen.pids, seen.ensemble)
        workers = [Workers(target) for target in asked]
        for one in workers:
            stack.callback(one.close)
        sweep = _Sweep(arguments, asked, workers, prompts)
        result["points"] = []
        for load, number in zip(loads(arguments), request_counts(arguments)):
            result["points"] += sweep.points(load, number)
            if arguments.json:  # each time: what was measured is kept, whatever comes
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
    ) -> None:
        self._arguments = arguments
        self._targets = asked
        self._workers = workers
        self._prompts = prompts
        self._sent = 0

    def points(self, load: Load, number: int | None) -> list[dict[str, Any]]:
        """Measure one load: every target in turn, in each round. number: of requests, if not the usual."""
        runs: list[list[Run]] = [[] for _ in self._targets]
        for turn in range(self._arguments.rounds):
            warm_up, requests = self._requests(load, number)
            for i, target in enumerate(self._targets):
                self._say(f"{load}: round {turn + 1} of {self._arguments.rounds}, {target.name}")
                dealt = self._deal(load, requests, warm_up, target, turn)
                runs[i].append(self._workers[i].run(dealt, _cpu_of(target)))
        self._say("")
        return [self._point(load, i, runs) for i in range(len(self._targets))]

    def _requests(self, load: Load, number: int | None) -> tuple[list[Request], list[Request]]:
        """Return the requests of warm-up and measurement: the same for every target of a round."""
        given = self._arguments
        streams = load.concurrency or 1
        usual = streams * REQUESTS_PER_STREAM if load.concurrency else int(load.rate * SECONDS_OF_RATE)
        return self._next(streams * given.warm_up), self._next(max(streams, number or usual, 1))

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

    def _point(self, load: Load, i: int, runs: list[list[Run]]) -> dict[str, Any]:
        target = self._targets[i]
        point = {"load": str(load), "target": target.name, "kind": target.kind, "streamed": target.stream}
        figures = over_runs(runs[i], target.stream)
        baseline = None if target.is_baseline else self._baseline_of(target)
        if baseline is not None:
            theirs = over_runs(runs[baseline], self._targets[baseline].stream)
            point |= {"ratio": ratio(runs[i], runs[baseline]), **over_baseline(figures, theirs)}
        return point | figures

    def _baseline_of(self, target: Target) -> int | None:
        """Return the baseline's place: of the target's own mode, or the only one."""
        places = [i for i, one in enumerate(self._targets) if one.is_baseline]
        same = [i for i in places if self._targets[i].stream == target.stream]
        return next(iter(same + places), None)

    def _say(self, text: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{text}")
        elif text:
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def _cpu_of(target: Target) -> Callable[[], float | None]:
    """Return what reads the CPU seconds of a target's server; None where its process is not known."""
    return lambda: sum(map(cpu_seconds, target.pids)) if target.pids else None


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
    parser = argparse.ArgumentParser(
        prog="bench", description="Measure a server's latency and throughput.", allow_abbrev=False
    )
    add_arguments(parser)
    try:
        return run(parser.parse_args())
    except KeyboardInterrupt:
        sys.stderr.write("bench: stopped\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
