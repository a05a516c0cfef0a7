# SPDX-License-Identifier: Apache-2.0
"""Threads that call the requests' on_tokens, so that a slow callback does not stall the engine."""

from __future__ import annotations

import queue
import threading

from llm_ensemble.engines.scheduler import Send

THREADS = 4  # a callback that stalls holds one of them; requests are held up only while all are


class SenderThreads:
    """Sends pending tokens of many requests, in turn."""

    def __init__(self) -> None:
        self._ready: queue.SimpleQueue[Send | None] = queue.SimpleQueue()
        self._unsent = 0  # requests in _ready or in a thread
        self._changed = threading.Condition()
        for index in range(THREADS):
            threading.Thread(target=self._run, name=f"engine-sender-{index}", daemon=True).start()

    def put(self, send: Send) -> None:
        """Call `send` in a thread until it returns False; return at once."""
        with self._changed:
            self._unsent += 1
        self._ready.put(send)

    def close(self, seconds: float) -> None:
        """End the threads once everything is sent, or after this time."""
        with self._changed:
            self._changed.wait_for(lambda: not self._unsent, seconds)
        for _ in range(THREADS):
            self._ready.put(None)

    def _run(self) -> None:
        while send := self._ready.get():
            if send():
                self._ready.put(send)  # behind the other requests, which have waited longer
                continue
            with self._changed:
                self._unsent -= 1
                self._changed.notify_all()
