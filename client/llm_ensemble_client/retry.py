# SPDX-License-Identifier: Apache-2.0
"""Retries: which errors are retried, how often and after which pauses. Independent of the transport."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from llm_ensemble_client.deadline import Deadline
from llm_ensemble_client.errors import ClientError, Overloaded, TimedOut, Unreachable

T = TypeVar("T")


@dataclass(frozen=True)
class Retry:
    """How often to retry, after pauses that double and are shortened at random by up to a half.

    times: maximum number of retries; 0 for none
    first: the first pause, seconds
    longest: maximum of a pause, seconds
    before_pause: called with the error before each pause, for example to report it; if it raises, the call
        ends with that exception
    """

    times: int = 6
    first: float = 0.2
    longest: float = 10.0
    before_pause: Callable[[ClientError], None] | None = None

    def pauses(self) -> Iterator[float]:
        """Yield the pauses, in seconds."""
        for number in range(self.times):
            yield min(self.first * 2**number, self.longest) * random.uniform(0.5, 1)


NEVER = Retry(times=0)


def retry_policy(retries: bool | Retry) -> Retry:
    """Return the Retry for the parameter `retries` of a client."""
    if isinstance(retries, Retry):
        return retries
    return Retry() if retries else NEVER


async def with_retries(
    attempt: Callable[[], Awaitable[T]],
    policy: Retry,
    deadline: Deadline,
    sleep: Callable[[float], Awaitable[None]],
) -> T:
    """Return the result of the first attempt that succeeds. Retry on Overloaded and Unreachable.

    Raise the error of the last attempt when it is of another kind, when no retries are left, or when the next
    pause would exceed the deadline: that error says more than TimedOut.
    """
    pauses = policy.pauses()
    while True:
        try:
            return await attempt()
        except TimedOut:
            raise
        except (Overloaded, Unreachable) as error:
            pause = next(pauses, None)
            if pause is None or pause >= deadline.remaining():
                raise
            if policy.before_pause:
                policy.before_pause(error)
        await sleep(pause)
