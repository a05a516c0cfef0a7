# SPDX-License-Identifier: Apache-2.0
"""The worker processes as the library's proxy sees them: here one thread, whose death is simulated."""

import concurrent.futures
import contextlib
import queue

from tensorrt_llm._fake.version import NEWER

BOUND_SECONDS = 5  # of a shutdown after 1.2


class Killed(BaseException):
    """A worker has been killed."""


class Workers:
    """futures: one a worker, done when it has ended. errors: raised at the next submit."""

    def __init__(self, count: int) -> None:
        self.futures = [concurrent.futures.Future() for _ in range(count)]
        self.errors: queue.Queue = queue.Queue()

    @property
    def killed(self) -> bool:
        return self.futures[0].done() and self.futures[0].exception() is not None

    def kill_one(self) -> None:
        error = RuntimeError("a worker process was killed")
        self.futures[0].set_exception(error)
        self.errors.put(error)

    def wait_ended(self) -> None:
        """Trap: the other workers end only if all are alive, so after a death this may wait forever."""
        if not self.killed:
            for future in self.futures:
                future.done() or future.set_result(None)
        for future in self.futures:
            with contextlib.suppress(RuntimeError, concurrent.futures.TimeoutError):
                future.result(BOUND_SECONDS if NEWER else None)
