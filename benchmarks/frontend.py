# SPDX-License-Identifier: Apache-2.0
"""What OpenAI's API costs over the ensemble's own gRPC stream, on one server, in alternating rounds.

    python -m benchmarks.frontend                          # every row; ten minutes
    python -m benchmarks.frontend many first               # some
    python -m benchmarks.frontend speed --engine-dir DIR   # by another engine

The rows are those of docs/performance.md. `speed` needs an engine that computes, the others take the pace
engine. The client runs on the same machine, in processes of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench.cpu import cpu_seconds
from benchmarks.bench.driver import Target
from benchmarks.bench.load import Load, shares
from benchmarks.bench.openai import first_model
from benchmarks.bench.prompts import counter, synthetic
from benchmarks.bench.record import Request
from benchmarks.bench.statistics import Run, first_token_seconds, percentile
from benchmarks.bench.workers import Workers
from benchmarks.frontend_process import frontend
from benchmarks.pace.make_engine import make_pace_engine
from benchmarks.path import LIMITS, TTFT, delays, show
from serving.tritonserver import free_ports, running

STREAMS_PER_PROCESS = 64
INPUT_TOKENS = 32
WAYS = ("grpc", "openai")


@dataclass(frozen=True)
class Measured:
    """A run. frontend_cpu: seconds that the frontend's process took of the server's CPU."""

    run: Run
    frontend_cpu: float

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.run.tokens / self.run.seconds

    @property
    def first(self) -> float:
        """The median time to first token, in milliseconds."""
        return percentile([first_token_seconds(record) for record in self.run.good], 50) * 1000

    @property
    def cpu(self) -> float:
        """Microseconds of CPU of all of the server's processes a token."""
        return (self.run.server_cpu or 0) / self.run.tokens * 1e6

    @property
    def own_cpu(self) -> float:
        """Those of the frontend's process."""
        return self.frontend_cpu / self.run.tokens * 1e6

    @property
    def client(self) -> float:
        """Cores that the clients took."""
        return self.run.client_cpu / self.run.seconds

    @property
    def others(self) -> float:
        """Cores that neither server nor clients took."""
        seen = self.run
        return ((seen.machine_cpu or 0) - (seen.server_cpu or 0) - seen.client_cpu) / seen.seconds


class Both:
    """A server with the frontend beside it, asked in either way. interval: of the pace engine, in seconds."""

    def __init__(self, addresses: dict[str, str], pids: Sequence[int], folder: Path, interval: float) -> None:
        self._addresses, self._pids = addresses, pids
        self.interval = interval
        self._prompts = synthetic(64, INPUT_TOKENS, counter(folder / "tokenizer/tokenizer.json"), seed=0)
        self._workers: dict[tuple[str, bool], Workers] = {}
        self._model = first_model(addresses["openai"])

    def ask(self, way: str, streams: int, tokens: int, stream: bool = True, requests: int = 0) -> Measured:
        """Ask so many at a time, the same prompts in either way. requests: in all, not only so many."""
        asked = [Request(self._prompts[i % 64], tokens) for i in range(requests or streams)]
        is_new = (way, stream) not in self._workers
        warm_up = [Request(request.prompt, 20 if is_new else 2) for request in asked[:streams]]
        processes = -(-streams // STREAMS_PER_PROCESS)
        dealt = shares(Load(concurrency=streams), asked, warm_up, processes, 0, 600)
        own: list[float] = []

        def cpu() -> float:
            if streams == 1:  # to look at a thousand threads takes longer than one request
                return 0.0
            own.append(cpu_seconds(self._pids[-1]))
            return sum(map(cpu_seconds, self._pids[:-1])) + own[-1]

        run = self._opened(way, stream).run(dealt, cpu)
        assert len(run.good) == len(asked), {record.error for record in run.records}
        return Measured(run, own[-1] - own[-2] if own else 0.0)

    def rounds(self, number: int, streams: int, tokens: int, requests: int = 0) -> list[list[Measured]]:
        """Return pairs of streamed runs, gRPC's and the frontend's, by turns the one or the other first."""
        pairs = []
        for turn in range(number):
            ways = WAYS if turn % 2 == 0 else WAYS[::-1]
            seen = {way: self.ask(way, streams, tokens, requests=requests) for way in ways}
            pairs.append([seen[way] for way in WAYS])
        return pairs

    def close(self) -> None:
        """End the processes that ask."""
        for workers in self._workers.values():
            workers.close()

    def _opened(self, way: str, stream: bool) -> Workers:
        model = self._model if way == "openai" else "ensemble"
        target = Target(way, way, self._addresses[way], stream, model, f"{model}_unary")
        if (way, stream) not in self._workers:
            self._workers[way, stream] = Workers(target)
        return self._workers[way, stream]


@contextlib.contextmanager
def both(engine_dir: Path, interval_ms: float = 0) -> Iterator[Both]:
    """Provide a server and its frontend."""
    ports = free_ports(openai=True)
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        server = stack.enter_context(running(engine_dir, ports, log))
        server.wait_ready()
        process = stack.enter_context(frontend(engine_dir, ports, log))
        addresses = {"grpc": ports.grpc_netloc, "openai": f"{ports.host}:{ports.openai}"}
        one = Both(addresses, (server.process.pid, process.pid), engine_dir, interval_ms / 1000)
        stack.callback(one.close)
        yield one


@contextlib.contextmanager
def paced(interval_ms: float) -> Iterator[Both]:
    """Provide a server whose engine gives a token each `interval_ms` milliseconds, and its frontend."""
    with tempfile.TemporaryDirectory() as name:
        os.environ.update(PACE_TTFT_MS=str(TTFT * 1000), PACE_INTERVAL_MS=str(interval_ms))
        with both(make_pace_engine(Path(name) / "pace", LIMITS), interval_ms) as one:
            yield one


def compared(pairs: list[list[Measured]]) -> str:
    """Return how the second of each pair does against the first."""
    ratio = [ours.rate / theirs.rate for theirs, ours in pairs]
    first = [ours.first - theirs.first for theirs, ours in pairs]
    cpu = [ours.cpu - theirs.cpu for theirs, ours in pairs]
    own = [ours.own_cpu for _, ours in pairs]
    rates = "; ".join(f"{theirs.rate:.0f}, {ours.rate:.0f}" for theirs, ours in pairs)
    clients = [statistics.median(pair[i].client for pair in pairs) for i in (0, 1)]
    return (
        f"{over(ratio, '.3f')} of gRPC's tokens/s ({rates}), first tokens + {over(first, '.1f')} ms, "
        f"CPU a token + {over(cpu, '.1f')} us of {over([theirs.cpu for theirs, _ in pairs], '.0f')}, "
        f"frontend's process {over(own, '.1f')}, tokens in a response {in_a_response(pairs, 0):.1f}, "
        f"{in_a_response(pairs, 1):.1f}; client's cores {clients[0]:.2f}, {clients[1]:.2f}, "
        f"others' {over([one.others for pair in pairs for one in pair], '.2f')}"
    )


def in_a_response(pairs: list[list[Measured]], i: int) -> float:
    """Return the tokens that a response has."""
    records = [record for pair in pairs for record in pair[i].run.good]
    return sum(record.tokens for record in records) / sum(len(record.arrivals) for record in records)


def over(values: list[float], form: str) -> str:
    """Return the median and the range."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def speed(engine_dir: Path, rounds: int) -> None:
    """Measure tokens/s at 32 and 100 streams of an engine that computes."""
    with both(engine_dir) as one:
        for streams in (32, 100):
            pairs = one.rounds(rounds, streams, 64)
            show(f"{streams} streams of {engine_dir.name}", compared(pairs))


def many(engine_dir: Path, rounds: int) -> None:
    """Measure 64 streams of a token each 10 ms."""
    with paced(10) as one:
        pairs = one.rounds(rounds, 64, 1500)
        show("64 streams, 10 ms", compared(pairs))
        for ours_or_theirs, way in enumerate(WAYS):
            for pair in pairs:
                show(f"  {way}", delays(one, pair[ours_or_theirs].run))


def first(engine_dir: Path, rounds: int) -> None:
    """Measure the time to first token of one request at a time."""
    with paced(20) as one:
        pairs = one.rounds(rounds * 25, 1, 3)
        added = over([ours.first - theirs.first for theirs, ours in pairs], ".1f")
        seen = [[pair[i].first - TTFT * 1000 for pair in pairs] for i in (0, 1)]
        shown = [over(values, ".1f") for values in seen]
        show("TTFT at 1", f"+ {added} ms; over the engine's: gRPC {shown[0]}, frontend {shown[1]}")
        quarter = [percentile(values, 25) for values in seen]
        show(
            "  of the lower quartiles",
            f"+ {quarter[1] - quarter[0]:.1f} ms ({quarter[0]:.1f}, {quarter[1]:.1f})",
        )


def plain(engine_dir: Path, rounds: int) -> None:
    """Measure 100 requests at a time: streaming over unary, of the frontend and of gRPC."""
    with paced(20) as one:
        for way in WAYS[::-1]:
            pairs = [[one.ask(way, 100, 400, stream) for stream in (False, True)] for _ in range(rounds)]
            ratio = over([streamed.rate / whole.rate for whole, streamed in pairs], ".3f")
            rates = "; ".join(f"{whole.rate:.0f}, {streamed.rate:.0f}" for whole, streamed in pairs)
            show(f"100 at a time, {way}", f"streamed over not streamed {ratio} ({rates})")


ROWS: dict[str, Callable[[Path, int], None]] = {f.__name__: f for f in (speed, many, first, plain)}


def main() -> None:
    """Measure the rows that are named, or all."""
    parser = argparse.ArgumentParser(description="What OpenAI's API costs over the ensemble's own stream.")
    parser.add_argument("rows", nargs="*", metavar="row", help=f"of {', '.join(ROWS)}; all unless told")
    parser.add_argument("--engine-dir", type=Path, default=Path("engines/opt-125m-random"), help="of speed")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    given = parser.parse_args()
    asked = given.rows or [*ROWS]
    if unknown := [name for name in asked if name not in ROWS]:
        parser.error(f"no row {unknown[0]!r}: take of {', '.join(ROWS)}")
    for name in asked:
        ROWS[name](given.engine_dir, given.rounds)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
