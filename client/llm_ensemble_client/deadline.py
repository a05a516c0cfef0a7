# SPDX-License-Identifier: Apache-2.0
"""The deadline of one call, retries and pauses included."""

from __future__ import annotations

import time

from llm_ensemble_client.errors import TimedOut

DEFAULT_TIMEOUT = 300.0  # seconds


class Deadline:
    """A point in time, `seconds` after the object was made."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds left, above 0. Raise TimedOut when none are left."""
        remaining = self._ends - time.monotonic()
        if remaining <= 0:
            raise self.timed_out()
        return remaining

    def timed_out(self) -> TimedOut:
        """Return the error of a call that has reached the deadline."""
        return TimedOut(f"no answer within {self._seconds:g} s, the timeout of this call")
