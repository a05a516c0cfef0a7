# SPDX-License-Identifier: Apache-2.0
"""The processes that ask: apart from this one, so that what they cost can be seen and spread over cores."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any

from client import bench_load
from client.bench_cpu import machine_seconds
from client.bench_driver import Target
from client.bench_load import Share
from client.bench_record import BenchError
from client.bench_statistics import Run

HEAD_START = 0.05  # for the word to start to reach every process


class Workers:
    """Processes that stay open for one target, so that an engine is loaded once."""

    def __init__(self, target: Target, environ: Mapping[str, str] | None = None) -> None:
        self._target = target
        self._environ = environ or {}
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []

    def run(self, shares: list[Share], cpu: Callable[[], float | None]) -> Run:
        """Warm up, then measure; cpu reads the seconds of CPU that the server has taken so far."""
        while len(self._pipes) < len(shares):
            self._start()
        pipes = self._pipes[: len(shares)]
        for pipe, share in zip(pipes, shares):
            pipe.send(share)
        for pipe in pipes:
            _receive(pipe, self._target)
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
        if self._target.kind == "engine":  # what it took is the engine's
            return Run(records, server_cpu=sum(used), machine_cpu=busy)
        return Run(records, sum(used), max(used), server, busy)

    def close(self) -> None:
        """Let the processes end."""
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.send(None)
        for process in self._processes:
            process.join(30)
            if process.is_alive():
                process.kill()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self._target), daemon=True)
        with _environment(self._environ):
            process.start()
        theirs.close()
        self._pipes.append(ours)
        self._processes.append(process)


@contextlib.contextmanager
def _environment(environ: Mapping[str, str]) -> Iterator[None]:
    """What a child is to find in its environment; some of it is read before Python starts."""
    before = dict(os.environ)
    os.environ.update(environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _receive(pipe: Connection, target: Target) -> Any:
    try:
        answer = pipe.recv()
    except EOFError as error:
        raise BenchError(f"{target.name}: the process that asks {target.address} died; see above") from error
    if isinstance(answer, BenchError):
        raise answer
    return answer


def _work(pipe: Connection, target: Target) -> None:
    """A worker process: until it is told to end, or nobody is there to tell it."""
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
