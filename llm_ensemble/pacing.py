# SPDX-License-Identifier: Apache-2.0
"""How long a stream's tokens gather before they travel: by what sending costs on this machine, now."""

from __future__ import annotations

import time
from collections.abc import Callable

from llm_ensemble.request import Chunk

SendChunk = Callable[[Chunk], None]

# A chunk costs the server far more than a token does. So sending takes a 32nd of the time of the thread that
# sends, as long as nobody waits for his tokens longer than 0.12 s for it. It never takes more
# than a quarter: the steps behind need three times as long for a chunk (seen: they fell behind at 2,400 a
# second). Who is alone waits for nobody: each of his tokens goes by itself.
USUAL_PART = 1 / 32
MOST_PART = 1 / 4
PATIENCE_SECONDS = 0.12
MEMORY = 32  # chunks over which the cost is averaged


class Pacing:
    """Measures what sending a chunk takes, and tells each stream when to send the next.

    streams: how many share the time. Sends may come from several threads; that the average then misses one
    now and then does no harm.
    """

    def __init__(self, streams: Callable[[], int]) -> None:
        self._streams = streams
        self._cost = 0.0  # seconds a chunk

    def send(self, chunk: Chunk, send: SendChunk) -> float:
        """Send a chunk; return the moment (time.monotonic()) at which it had gone."""
        begin = time.monotonic()
        send(chunk)
        end = time.monotonic()
        self._cost += (end - begin - self._cost) / MEMORY
        return end

    @property
    def seconds(self) -> float:
        """From a stream's chunk to its next."""
        to_others = self._cost * (self._streams() - 1)
        return max(to_others / MOST_PART, min(to_others / USUAL_PART, PATIENCE_SECONDS))
