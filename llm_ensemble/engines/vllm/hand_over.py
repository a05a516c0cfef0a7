# SPDX-License-Identifier: Apache-2.0
"""Tokens on their way from vLLM's event loop to the thread that delivers them, several steps' at once.

To deliver a request's tokens costs far more than a token does, and to do it in the loop would hold up the
next step. So the thread rests after its work, and what comes meanwhile is merged. With few streams it is
ready again before the next step, and each token goes by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from llm_ensemble.engines.protocol import Tokens

Batch = dict[Any, list[Tokens]]  # by request, in order

# After a delivery to 10 requests the thread rests for 6 ms, after one to 34 or more for 20. The time between
# a stream's chunks, which grows with the streams as well (engine_stage/pacing.py), must be far longer.
REST_SECONDS = 0.0006  # a request
MAX_REST_SECONDS = 0.02
LATE_SECONDS = 0.1  # after which tokens that may wait are delivered, for the counters and the watchdog


class HandOver:
    """Calls deliver(key, news) in a thread of its own, in order for each key.

    `put` and `put_plain` are called in the loop's thread. may_wait: whether a key's plain tokens are wanted
    with its last alone; they do not wake the thread, which at each step costs more than all else.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[Any, Sequence[Tokens]], None],
        may_wait: Callable[[Any], bool] = lambda key: False,
    ) -> None:
        self._loop = loop
        self._deliver = deliver
        self._may_wait = may_wait
        self._gathered: Batch = {}
        self._late: Batch = {}
        self._urgent: list[Any] = []
        self._is_called = False
        self._is_timed = self._is_late_timed = False
        self._ready_at = 0.0  # infinite while the thread has tokens that could wait
        # What is urgent, and what could wait: the latter only while the thread has no such.
        self._handed: queue.SimpleQueue[tuple[Batch, Batch] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="vllm-outputs", daemon=True)
        self._thread.start()

    def put(self, key: Any, news: Iterable[Tokens]) -> None:
        """Take tokens that must not wait, such as the first and the last; what waits of the key precedes."""
        gathered = self._gathered.setdefault(key, [])
        gathered += self._late.pop(key, [])
        gathered += news
        self._urgent.append(key)
        self._call()

    def put_plain(self, news: Iterable[tuple[Any, int, list[int]]]) -> None:
        """Take token ids of sequences that go on, by key and index; the lists are kept and changed."""
        for key, index, token_ids in news:
            gathered = self._late if self._may_wait(key) else self._gathered
            waiting = gathered.get(key)
            if waiting is None:
                gathered[key] = [Tokens(token_ids, index=index)]
            elif (last := waiting[-1]).index == index:
                last.token_ids.extend(token_ids)
            else:
                waiting.append(Tokens(token_ids, index=index))
        if self._gathered:
            self._call()
        if self._late and not self._is_late_timed:
            self._is_late_timed = True
            self._loop.call_later(LATE_SECONDS, self._deliver_late)

    def close(self, seconds: float) -> None:
        """End the thread once everything handed over is done, or after this time."""
        self._handed.put(None)
        self._thread.join(seconds)

    def _call(self) -> None:
        """Hand over once the loop turns: what else comes before that goes with it."""
        if not self._is_called:
            self._is_called = True
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        self._is_called = False
        urgent = {key: self._gathered.pop(key) for key in dict.fromkeys(self._urgent)}
        self._urgent.clear()
        waiting: Batch = {}
        if self._gathered:
            wait = self._ready_at - time.monotonic()
            if wait <= 0:
                waiting, self._gathered = self._gathered, {}
                self._ready_at = math.inf
            elif wait < math.inf and not self._is_timed:
                self._is_timed = True
                self._loop.call_later(wait, self._rested)
        if urgent or waiting:
            self._handed.put((urgent, waiting))

    def _deliver_late(self) -> None:
        self._is_late_timed = False
        for key, news in self._late.items():
            self._gathered.setdefault(key, []).extend(news)
        self._late = {}
        self._hand_over()

    def _rested(self) -> None:
        self._is_timed = False
        self._hand_over()

    def _run(self) -> None:
        while (handed := self._handed.get()) is not None:
            urgent, waiting = handed
            for key, news in urgent.items():
                self._deliver(key, news)
            if waiting:
                rest = min(REST_SECONDS * len(waiting), MAX_REST_SECONDS)
                self._deliver_waiting(waiting)
                self._ready_at = time.monotonic() + rest
                if self._gathered:  # before the time was known; else the loop sees it
                    with contextlib.suppress(RuntimeError):  # of a loop that is closed
                        self._loop.call_soon_threadsafe(self._call)

    def _deliver_waiting(self, waiting: Batch) -> None:
        for key in [*waiting]:
            while not self._handed.empty():
                handed = self._handed.get()
                if handed is None:  # the end, for _run
                    self._handed.put(None)
                    break
                for urgent, news in handed[0].items():
                    self._deliver(urgent, waiting.pop(urgent, []) + news)
            if key in waiting:
                self._deliver(key, waiting.pop(key))


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a loop of uvloop, which vLLM installs and its own server uses; else Python's."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
