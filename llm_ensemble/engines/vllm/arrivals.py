# SPDX-License-Identifier: Apache-2.0
"""Requests on their way into vLLM: together while many run.

A step that begins a prompt costs vLLM's engine core more than one that only continues: it runs in pieces,
not as one CUDA graph. With a small model on a fast GPU that core is what limits all: on an H200 it takes a
whole CPU core (OPT-125m's shape). Requests that come one by one make nearly each step such a step; so while
many run, those that come within a few steps go in together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

# Between two beginnings: 3 ms while 32 run, 26 while 256 do, which is two or three steps of a small model.
SECONDS = 0.0001  # for each that runs
MAX_SECONDS = 0.03


class Arrivals:
    """Calls start(item) for each item, in order; both are called in the loop's thread.

    running: tells how many run. The first item after a pause is started immediately.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, start: Callable[[Any], None], running: Callable[[], int]
    ) -> None:
        self._loop, self._start, self._running = loop, start, running
        self._items: list[Any] = []
        self._next_at = 0.0

    def add(self, item: Any) -> None:
        """Start an item now or, with those that come until then, a little later."""
        self._items.append(item)
        if len(self._items) == 1:
            wait = self._next_at - self._loop.time()
            if wait > 0:
                self._loop.call_later(wait, self._start_all)
            else:
                self._start_all()

    def _start_all(self) -> None:
        self._next_at = self._loop.time() + min(SECONDS * self._running(), MAX_SECONDS)
        items, self._items = self._items, []
        for item in items:
            self._start(item)
