# SPDX-License-Identifier: Apache-2.0
"""Plain requests on their way to the ensemble, many at a time. Knows no Triton."""

from __future__ import annotations

import concurrent.futures
import logging
import threading
from collections.abc import Callable
from typing import Protocol

from llm_ensemble.errors import Overloaded
from llm_ensemble.request import choose_number

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.4


def most_calls(max_batch_size: int, max_waiting: int, instances: int) -> int:
    """Plain requests that may be open at a time: as many as all instances of the engine run and let wait."""
    return (max_batch_size + max_waiting) * instances


class Call(Protocol):
    """One plain request."""

    @property
    def client_left(self) -> bool:
        """Whether nobody waits for the answer any more."""

    def ask(self, number: int) -> None:
        """Forward it under this stream number, wait for the answer, send it."""

    def fail(self, error: Exception) -> None:
        """Answer with an error."""


class Forwarder:
    """Forwards each call by a thread of its own, since the call waits, and aborts those whose client left.

    most: calls open at a time, one more is refused. abort: tells the engine to end a stream.
    """

    def __init__(self, most: int, abort: Callable[[int], None]) -> None:
        self._most = most
        self._abort = abort
        self._calls: dict[int, Call] = {}
        self._closed = threading.Event()
        self._threads = concurrent.futures.ThreadPoolExecutor(most, "forward")
        self._watcher = threading.Thread(target=self._watch, name="unary-clients", daemon=True)
        self._watcher.start()

    @property
    def open(self) -> int:
        """Calls that have no answer yet."""
        return len(self._calls)

    def forward(self, call: Call) -> None:
        """Start a call and return; it gets its answer, or its error, from another thread."""
        if self.open >= self._most:
            call.fail(Overloaded(f"{self.open} open"))
            return
        number = choose_number()
        self._calls[number] = call
        self._threads.submit(self._run, number, call)

    def close(self) -> None:
        """Wait for the open calls."""
        self._threads.shutdown()
        self._closed.set()
        self._watcher.join()

    def _run(self, number: int, call: Call) -> None:
        try:
            call.ask(number)
        except Exception as error:
            call.fail(error)
        finally:
            del self._calls[number]

    def _watch(self) -> None:
        """The request may not have reached the engine yet, so it is aborted until it has ended."""
        while not self._closed.wait(WATCH_SECONDS):
            for number, call in [*self._calls.items()]:
                try:
                    if call.client_left:
                        self._abort(number)
                except Exception:
                    log.exception("stream %d: its client could not be watched", number)
