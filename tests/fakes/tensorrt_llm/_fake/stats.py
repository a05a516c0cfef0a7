# SPDX-License-Identifier: Apache-2.0
"""One record a step, with the names of C++'s structs; the last thousand are kept."""

import queue
import threading
import time
from datetime import datetime, timezone

from tensorrt_llm._fake.facts import FACTS
from tensorrt_llm._fake.model_dir import Limits
from tensorrt_llm._fake.pipeline import BLOCK, total_blocks

KEYS = FACTS["classes"]["IterationStats (get_stats record)"]
KEPT = 1000


class Stats:
    """Values that are not measured are 0, whole structs None."""

    def __init__(self, limits: Limits) -> None:
        self.begun = False  # there are no records before the first request
        self._limits, self._iteration = limits, 0
        self._records: queue.Queue = queue.Queue(KEPT)
        self._writing = threading.Lock()

    def add(self, begun, new, scheduled, active, queued, ended, usage) -> None:
        blocks, self._iteration = total_blocks(self._limits), self._iteration + 1
        used = round(blocks * usage)
        known = {
            "timestamp": datetime.now(timezone.utc).strftime("%m-%d-%Y %H:%M:%S.%f"),
            "iter": self._iteration,
            "iterLatencyMS": 1000 * (time.monotonic() - begun),
            "numNewActiveRequests": new,
            "numActiveRequests": active,
            "numQueuedRequests": queued,
            "numCompletedRequests": ended,
            "maxNumActiveRequests": self._limits.max_batch_size,
            "maxBatchSizeStatic": self._limits.max_batch_size,
            "maxBatchSizeRuntime": self._limits.max_batch_size,
            "maxNumTokensStatic": self._limits.max_num_tokens,
            "maxNumTokensRuntime": self._limits.max_num_tokens,
            "kvCacheStats": _only_known("kvCacheStats", maxNumBlocks=blocks, freeNumBlocks=blocks - used,
                                        usedNumBlocks=used, tokensPerBlock=BLOCK),
            "crossKvCacheStats": None,
            "staticBatchingStats": None,
            "inflightBatchingStats": _only_known("inflightBatchingStats", numScheduledRequests=scheduled),
        }  # fmt: skip
        self._put(_only_known("top", **known))

    def take(self, seconds: float):
        """Return the oldest record, None if there is none within `seconds`."""
        if not self.begun:
            return None
        try:
            return self._records.get(timeout=seconds) if seconds > 0 else self._records.get_nowait()
        except queue.Empty:
            return None

    def _put(self, record) -> None:
        with self._writing:
            if self._records.full():
                self.take(0)
            self._records.put(record)


def _only_known(group: str, **known) -> dict:
    """Return exactly the keys of the sheet."""
    assert not set(known) - set(KEYS[group])
    return {key: known.get(key, 0) for key in KEYS[group]}
