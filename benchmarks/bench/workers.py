# SPDX-License-Identifier: Apache-2.0
"""The processes that ask: apart from this one, so that what they cost can be seen and spread over cores."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.bench import load as bench_load
from benchmarks.bench.cpu import cpu_seconds, family, machine_seconds
from benchmarks.bench.driver import Target
from benchmarks.bench.load import Share
from benchmarks.bench.record import BenchError
from benchmarks.bench.statistics import Run

HEAD_START = 0.05  # for the word to start to reach every process


class Workers:
    """Processes that stay open for one target, so that an engine is loaded once."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._pipes: list[Connection] = []
        self.processes: list[Any] = []

    def run(self, shares: list[Share], cpu: Callable[[], float | None]) -> Run:
        """Run warm-up and measurement. cpu: reads the CPU seconds of the server so far."""
        while len(self._pipes) < len(shares):
            self._start()
        pipes = self._pipes[: len(shares)]
        for pipe, share in zip(pipes, shares):
            pipe.send(share)
        for pipe in pipes:
            _receive(pipe, self._target)
        if self._target.kind == "engine":  # what the process took, and what it started, is the engine's
            cpu = self._cpu
        machine, before = machine_seconds(), cpu()
        start = time.monotonic() + HEAD_START
        for pipe in pipes:
            pipe.send(start)
        outcomes = [_receive(pipe, self._target) for pipe in pipes]
        after, machine_after = cpu(), machine_seconds()
        busy = None if machine is None or machine_after is None else machine_after - machine
        records = [record for one, _ in outcomes for record in one]
        used = [seconds for _, seconds in outcomes]
        server = after - before if after is not None and before is not None else None
        if self._target.kind == "engine":
            return Run(records, server_cpu=server, machine_cpu=busy)
        return Run(records, sum(used), max(used), server, busy)

    def close(self) -> None:
        """Let the processes end."""
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.send(None)
        for process in self.processes:
            process.join(30)
            if process.is_alive():
                for pid in reversed(family(process.pid)):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    def _cpu(self) -> float:
        return sum(cpu_seconds(process.pid) for process in self.processes)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        # An engine may start processes, which a daemonic one must not. It ends when its pipe closes.
        daemon = self._target.kind != "engine"
        process = context.Process(target=_work, args=(theirs, self._target), daemon=daemon)
        process.start()
        theirs.close()
        self._pipes.append(ours)
        self.processes.append(process)


def _receive(pipe: Connection, target: Target) -> Any:
    try:
        answer = pipe.recv()
    except EOFError as error:
        raise BenchError(f"{target.name}: the process that asks {target.address} died; see above") from error
    if isinstance(answer, BenchError):
        raise answer
    return answer


def _work(pipe: Connection, target: Target) -> None:
    """Work in a process of its own, until the pipe says to end or closes."""
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        asyncio.run(_serve(pipe, target))


async def _serve(pipe: Connection, target: Target) -> None:
    loop = asyncio.get_running_loop()
    try:
        driver = await target.open()
    except Exception as error:
        pipe.send(BenchError(f"{target.name} cannot be opened: {error}"))
        return
    try:
        while share := await loop.run_in_executor(None, pipe.recv):
            driver.prepare([*share.requests, *share.warm_up])
            failed = [record.error for record in await bench_load.warm_up(driver, share) if record.error]
            if failed:
                pipe.send(
                    BenchError(f"{target.name} at {target.address} failed while warming up: {failed[0]}")
                )
                return
            pipe.send("ready")
            start = await loop.run_in_executor(None, pipe.recv)
            gc.collect()
            gc.disable()  # a pause of ours would look like one of the server's
            used = time.process_time()
            records = await bench_load.measured(driver, share, start)
            used = time.process_time() - used
            gc.enable()
            pipe.send((records, used))
    finally:
        await driver.close()
