# SPDX-License-Identifier: Apache-2.0
"""The outputs of an engine step, handed from vLLM's event loop to a thread all at once.

vLLM's output handler puts out the tokens of a step one request after another. To wake another thread for each
would cost more than the tokens do, and to take them in the loop would hold up the next step's.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any

OnOutput = Callable[[Any, Any], None]


class HandOver:
    """Calls on_output(key, output) in a thread of its own, in the order of `put`.

    loop: the event loop in whose thread `put` is called.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_output: OnOutput) -> None:
        self._loop = loop
        self._on_output = on_output
        self._gathered: list[tuple[Any, Any]] = []
        self._ready: queue.SimpleQueue[list[tuple[Any, Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="vllm-outputs", daemon=True)
        self._thread.start()

    def put(self, key: Any, output: Any) -> None:
        """Take an output; what else comes before the loop turns goes with it."""
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append((key, output))

    def close(self, seconds: float) -> None:
        """End the thread once everything handed over is done, or after this time."""
        self._ready.put(None)
        self._thread.join(seconds)

    def _hand_over(self) -> None:
        gathered, self._gathered = self._gathered, []
        self._ready.put(gathered)

    def _run(self) -> None:
        while (gathered := self._ready.get()) is not None:
            for key, output in gathered:
                self._on_output(key, output)
