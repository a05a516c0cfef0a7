# SPDX-License-Identifier: Apache-2.0
"""Usage of TensorRT-LLM's KV cache."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

PERIOD_SECONDS = 0.5


class CacheUsage:
    """Reads the library's statistics in a thread, since that call blocks until the worker answers.

    So does get_stats_async, in spite of its name (1.2.1), which therefore must not be awaited on the loop.
    busy: returns whether requests run. Statistics are read only then; before its first request the library
    has none.
    """

    def __init__(self, llm: Any, busy: Callable[[], bool]) -> None:
        self.value = 0.0  # part in use, 0 to 1, as of the last read
        self._llm = llm
        self._busy = busy
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="tensorrt-llm-stats", daemon=True).start()

    def close(self) -> None:
        """Stop reading."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(PERIOD_SECONDS):
            if self._busy():
                with contextlib.suppress(Exception):  # a dead engine is detected elsewhere
                    self._read(self._llm.get_stats(timeout=PERIOD_SECONDS))

    def _read(self, records: list[dict[str, Any]]) -> None:
        """Read the record of the last step, which may lack the KV cache's part."""
        for record in records[-1:]:
            if cache := record.get("kvCacheStats"):
                self.value = cache["usedNumBlocks"] / max(1, cache["maxNumBlocks"])
