# SPDX-License-Identifier: Apache-2.0
"""How long a stream's tokens are gathered before they are sent, by what sending costs on this machine now."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from llm_ensemble.contract.request import Chunk, TextOptions

SendChunk = Callable[[Chunk], None]

# A chunk costs the server far more than a token does. So sending takes a 32nd of the time of the thread that
# sends, as long as that delays no token by more than 0.12 s. It never takes more than a quarter: the stages
# after this one need three times as long for a chunk (seen: they fell behind at 2,400 a second). A single
# stream is not delayed: each of its tokens is sent immediately.
DEFAULT_SHARE = 1 / 32
MAX_SHARE = 1 / 4
MAX_DELAY_SECONDS = 0.12
AVERAGED_CHUNKS = 32  # over which the cost is averaged
# A unary request needs one response, but chunks must be sent now and then: they show postprocessing a stop
# string...
STOP_STRING_SECONDS = 0.1
# ... or a client disconnect.
QUIET_SECONDS = 0.4


class Pacing:
    """Measures what sending a chunk takes, and tells each stream when to send the next.

    streams: how many share the time. Chunks may be sent by several threads; that the average then misses one
    now and then does no harm.
    """

    def __init__(self, streams: Callable[[], int]) -> None:
        self._streams = streams
        self._cost = 0.0  # seconds a chunk

    def send(self, chunk: Chunk, send: SendChunk) -> float:
        """Send a chunk; return the time (time.monotonic()) at which it was sent."""
        begin = time.monotonic()
        send(chunk)
        end = time.monotonic()
        self._cost += (end - begin - self._cost) / AVERAGED_CHUNKS
        return end

    @property
    def seconds(self) -> float:
        """Seconds from a stream's chunk to its next."""
        others = self._cost * (self._streams() - 1)
        return max(others / MAX_SHARE, min(others / DEFAULT_SHARE, MAX_DELAY_SECONDS))


def min_seconds(text: TextOptions, *, is_watched: bool) -> float:
    """Return the seconds for which a stream's tokens are gathered even if sending costs nothing.

    is_watched: whether ensemble_unary checks for a client disconnect, so that no chunk is needed for it.
    """
    if text.stream:
        return 0
    if text.stop_words:
        return STOP_STRING_SECONDS
    return math.inf if is_watched else QUIET_SECONDS
