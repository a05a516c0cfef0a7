# SPDX-License-Identifier: Apache-2.0
"""Unary requests, forwarded to the ensemble many at a time."""

from __future__ import annotations

import concurrent.futures
import logging
import threading
from collections.abc import Callable
from typing import Protocol

from llm_ensemble.contract.stream_id import StreamId
from llm_ensemble.errors import Overloaded

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.4  # between two checks for client disconnects


def max_calls(max_batch_size: int, max_waiting: int, instances: int) -> int:
    """Return how many unary requests may be open: as many as all instances of the engine run and queue."""
    return (max_batch_size + max_waiting) * instances


class Call(Protocol):
    """One unary request."""

    @property
    def is_disconnected(self) -> bool:
        """Whether the client has disconnected."""

    def run(self, stream_id: StreamId) -> None:
        """Forward the request under this id, wait for its result, and respond."""

    def fail(self, error: Exception) -> None:
        """Respond with an error."""


class Forwarder:
    """Runs each call in a thread, since it waits, and aborts those whose client has disconnected.

    limit: calls open at a time; a call beyond them is rejected. abort: aborts a stream in the engine stage.
    """

    def __init__(self, limit: int, abort: Callable[[StreamId], None]) -> None:
        self._limit = limit
        self._abort = abort
        self._calls: dict[StreamId, Call] = {}
        self._closed = threading.Event()
        self._threads = concurrent.futures.ThreadPoolExecutor(limit, "forward")
        self._watcher = threading.Thread(target=self._watch, name="unary-clients", daemon=True)
        self._watcher.start()

    @property
    def open(self) -> int:
        """The number of calls without a response."""
        return len(self._calls)

    def forward(self, call: Call) -> None:
        """Start a call and return; its response, or an error, comes from another thread."""
        if self.open >= self._limit:
            call.fail(Overloaded(f"{self.open} open"))
            return
        stream_id = StreamId.for_unary()
        self._calls[stream_id] = call
        self._threads.submit(self._run, stream_id, call)

    def close(self) -> None:
        """Wait for the open calls to end."""
        self._threads.shutdown()
        self._closed.set()
        self._watcher.join()

    def _run(self, stream_id: StreamId, call: Call) -> None:
        try:
            call.run(stream_id)
        except Exception as error:
            call.fail(error)
        finally:
            del self._calls[stream_id]

    def _watch(self) -> None:
        """Abort a call until it has ended: its request may not have reached the engine yet."""
        while not self._closed.wait(WATCH_SECONDS):
            for stream_id, call in [*self._calls.items()]:
                try:
                    if call.is_disconnected:
                        self._abort(stream_id)
                except Exception:
                    log.exception("stream %d: its client could not be checked", stream_id)
