# SPDX-License-Identifier: Apache-2.0
"""The time one call may take, retries and pauses included."""

from __future__ import annotations

import time

from client.errors import TimedOut


class Deadline:
    """So many seconds from now on."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left, above 0. Raises TimedOut when there are none."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise self.passed()
        return left

    def passed(self) -> TimedOut:
        """The error for a call that took too long."""
        return TimedOut(f"no answer within {self._seconds:g} s, the timeout of this call")
