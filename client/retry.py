# SPDX-License-Identifier: Apache-2.0
"""When to ask again, and after how long. Knows no transport: what is asked and how to sleep are handed in."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from client.deadline import Deadline
from client.errors import Overloaded, TimedOut, Unreachable

T = TypeVar("T")


@dataclass(frozen=True)
class Retry:
    """How often, and how long to wait: a pause is drawn from half to all of its length, which doubles.

    times: how often to ask again, 6 by default; 0 for never
    first: length of the first pause, seconds
    longest: no pause is longer, seconds
    """

    times: int = 6
    first: float = 0.2
    longest: float = 10.0

    def pauses(self) -> Iterator[float]:
        """The pauses, in seconds."""
        for number in range(self.times):
            yield min(self.first * 2**number, self.longest) * random.uniform(0.5, 1)


NEVER = Retry(times=0)


def retry_policy(retries: bool | Retry) -> Retry:
    """What the `retries` of a client stands for."""
    if isinstance(retries, Retry):
        return retries
    return Retry() if retries else NEVER


async def patiently(
    attempt: Callable[[], Awaitable[T]],
    policy: Retry,
    deadline: Deadline,
    sleep: Callable[[float], Awaitable[None]],
) -> T:
    """Attempt until it succeeds, fails for good, or the pauses or the time are used up.

    Raises what the last attempt raised: for a caller that is told more than that the time is over.
    """
    pauses = policy.pauses()
    while True:
        try:
            return await attempt()
        except TimedOut:
            raise
        except (Overloaded, Unreachable):
            pause = next(pauses, None)
            if pause is None or pause >= deadline.left():
                raise
        await sleep(pause)
