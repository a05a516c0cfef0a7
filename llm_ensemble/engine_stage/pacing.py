# SPDX-License-Identifier: Apache-2.0
"""How long a stream's tokens are gathered before they are sent, by what a response costs here and now."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from llm_ensemble.contract.request import TextOptions

# A response costs the server far more than a token does. So responding takes a 32nd of the time of the thread
# that responds, as long as that delays no token by more than 0.1 s; it never takes more than three quarters.
# A single stream is not delayed: each of its tokens is sent immediately.
DEFAULT_SHARE = 1 / 32
MAX_SHARE = 3 / 4
MAX_DELAY_SECONDS = 0.1
AVERAGED = 32  # pulses over which the cost is averaged
# A unary request needs one response, but chunks must be sent now and then where they may hold a stop string.
STOP_STRING_SECONDS = 0.1
# A streaming request's client is shown that the stream is alive.
QUIET_SECONDS = 0.4


class Pacing:
    """Measures what a pulse takes, about as long as a response, and tells each stream when to send a chunk.

    streams: how many share the time. owners: instances of postprocessing, which respond beside each other.
    Pulses may be sent by several threads; that the average then misses one now and then does no harm.
    """

    def __init__(self, streams: Callable[[], int], owners: Callable[[], int] = lambda: 1) -> None:
        self._streams = streams
        self._owners = owners
        self._cost = 0.0  # seconds a pulse

    def measure(self, pulse: Callable[[], None]) -> None:
        """Send a pulse, and measure it."""
        begin = time.monotonic()
        pulse()
        self._cost += (time.monotonic() - begin - self._cost) / AVERAGED

    @property
    def seconds(self) -> float:
        """Seconds from a stream's chunk to its next."""
        others = self._cost * (self._streams() - 1) / max(1, self._owners())
        return max(others / MAX_SHARE, min(others / DEFAULT_SHARE, MAX_DELAY_SECONDS))


def min_seconds(text: TextOptions) -> float:
    """Return the seconds for which a stream's tokens are gathered even if sending costs nothing."""
    if text.stream:
        return 0
    return STOP_STRING_SECONDS if text.stop_words else math.inf
