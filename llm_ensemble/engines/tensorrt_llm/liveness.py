# SPDX-License-Identifier: Apache-2.0
"""Liveness of TensorRT-LLM, from the library's own state: 1.2.x does not report that a worker has died.

A dead worker's exception stays in the executor's _error_queue until the next request is submitted. The
library then shuts itself down on the thread that submits, which is our event loop, and waits without limit
for the other workers (executor/proxy.py of 1.2; issue 10663, fixed in later releases). The names read here
are private ones of 1.2 to 1.4; a check whose name a release lacks is skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

CHECK_SECONDS = 1.0
# Checks without an answer from the event loop after which it counts as hanging. Counted and not timed, since
# the whole process may be stopped for a while, by a debugger or with its machine. The library's own calls on
# that loop take milliseconds.
MAX_UNANSWERED = 30


def find_death(llm: Any, error: Exception | None = None) -> str:
    """Return why the library is dead, "" while it is alive; error: the exception it raised, if any.

    Returns at once, in any thread. The class of an exception is no evidence: the library raises
    AssertionError about one response, and RuntimeError about a worker's death.
    """
    executor = llm._executor
    if executor is None or executor.is_shutdown():
        return "it has shut itself down"
    if any(future.done() for future in getattr(executor, "mpi_futures", None) or ()):
        return "a worker process has ended"
    errors = getattr(executor, "_error_queue", None)
    if errors is not None and not errors.empty():
        return "it has an error that belongs to no request"
    if error is not None and _is_engine_dead_error(error):
        return str(error)
    return ""


def _is_engine_dead_error(error: Exception) -> bool:
    try:
        from tensorrt_llm.executor.utils import EngineDeadError
    except ImportError:  # as in 1.2
        return False
    return isinstance(error, EngineDeadError)


class LivenessWatch:
    """Checks the library and the loop that drives it in a thread; calls on_death once, with the reason."""

    def __init__(self, llm: Any, loop: asyncio.AbstractEventLoop, on_death: Callable[[str], None]) -> None:
        self._llm = llm
        self._loop = loop
        self._on_death = on_death
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="tensorrt-llm-liveness", daemon=True).start()

    def close(self) -> None:
        """Stop checking."""
        self._closed.set()

    def _watch(self) -> None:
        answered, unanswered = self._ping_loop(), 0
        while not self._closed.wait(CHECK_SECONDS):
            unanswered = 0 if answered.is_set() else unanswered + 1
            death = self._find_death() or ("its event loop hangs" if unanswered >= MAX_UNANSWERED else "")
            if self._closed.is_set():
                return
            if death:
                self._on_death(death)
                return
            if not unanswered:
                answered = self._ping_loop()

    def _ping_loop(self) -> threading.Event:
        """Return an event that the loop sets when it runs next."""
        answered = threading.Event()
        with contextlib.suppress(RuntimeError):  # the loop has just been closed
            self._loop.call_soon_threadsafe(answered.set)
        return answered

    def _find_death(self) -> str:
        """Add the health check of newer releases, which may block for a while."""
        is_healthy = getattr(self._llm, "_check_health", lambda: True)
        return find_death(self._llm) or ("" if is_healthy() else "its own health check failed")
