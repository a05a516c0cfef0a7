# SPDX-License-Identifier: Apache-2.0
"""How requests are sent: so many at a time, or at the random moments of a Poisson process."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from benchmarks.bench.record import Driver, Record, Request


@dataclass(frozen=True)
class Load:
    """concurrency: requests open at a time; or rate: requests a second, sent whatever the server does."""

    concurrency: int = 0
    rate: float = 0.0

    def __str__(self) -> str:
        return f"{self.concurrency}" if self.concurrency else f"{self.rate:g}/s"


@dataclass(frozen=True)
class Share:
    """One process's part of a load. streams: open at a time; moments: when each request is sent, in seconds
    from the start, for a rate. warm_up: asked before, each stream once or as many times as it takes.
    timeout: seconds for one request.
    """

    requests: list[Request]
    warm_up: list[Request]
    streams: int
    moments: list[float]
    timeout: float


def moments(rate: float, count: int, seed: int) -> list[float]:
    """Yield the arrival times of a Poisson process, in seconds: gaps are exponential with mean 1 / rate."""
    draw = random.Random(seed)
    times, now = [], 0.0
    for _ in range(count):
        times.append(now)
        now += draw.expovariate(rate)
    return times


def shares(
    load: Load, requests: list[Request], warm_up: list[Request], processes: int, seed: int, timeout: float
) -> list[Share]:
    """Return a load split over processes as evenly as possible."""
    times = moments(load.rate, len(requests), seed) if load.rate else []
    return [
        Share(
            requests[i::processes],
            warm_up[i::processes],
            len(range(i, load.concurrency or len(warm_up), processes)),
            times[i::processes],
            timeout,
        )
        for i in range(processes)
    ]


async def warm_up(driver: Driver, share: Share) -> list[Record]:
    """Ask what comes before measuring."""
    return await _streams(driver, share.warm_up, max(1, share.streams), share.timeout)


async def measured(driver: Driver, share: Share, start: float) -> list[Record]:
    """Send this share from `start` (of time.monotonic()) on; its records."""
    await asyncio.sleep(start - time.monotonic())
    if not share.moments:
        return await _streams(driver, share.requests, share.streams, share.timeout)
    sent = [_at(driver, r, start + moment, share.timeout) for r, moment in zip(share.requests, share.moments)]
    return [*await asyncio.gather(*sent)]


async def _streams(driver: Driver, requests: list[Request], streams: int, timeout: float) -> list[Record]:
    """Send requests one after another in each of `concurrency` tasks."""
    records = []
    left = iter(requests)

    async def stream() -> None:
        for request in left:
            records.append(await _ask(driver, request, timeout))

    await asyncio.gather(*(stream() for _ in range(streams)))
    return records


async def _at(driver: Driver, request: Request, moment: float, timeout: float) -> Record:
    await asyncio.sleep(moment - time.monotonic())
    return await _ask(driver, request, timeout)


async def _ask(driver: Driver, request: Request, timeout: float) -> Record:
    record = Record(time.monotonic())
    try:
        await asyncio.wait_for(driver.ask(request, record), timeout)
    except asyncio.TimeoutError:
        record.error = f"no end within {timeout:g} s"
    except Exception as error:
        record.error = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    record.ended = record.ended or time.monotonic()
    if not record.error and record.tokens != request.output_tokens:
        record.error = f"{record.tokens} tokens came, {request.output_tokens} were asked for"
    return record
