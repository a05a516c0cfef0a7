# SPDX-License-Identifier: Apache-2.0
"""The log's lines: one for each request that was served, and one a second for all that were refused.

In the form of the stages' lines (llm_ensemble/telemetry/request_log.py). What a client could repeat for
nothing, a wrong key above all, must not fill the log.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from llm_ensemble.telemetry.request_log import WriteLine

SERVED, REFUSED = "openai", "openai_refused"  # what the lines begin with
REFUSED_SECONDS = 1.0
QUIET = ("/health", "/metrics", "/status")  # are asked each few seconds, by machines and by the page


class RequestLog:
    """Writes the lines. Its app's own fields (tokens, user) are those of `log_fields`."""

    def __init__(self, write: WriteLine) -> None:
        self._write = write
        self._refused: Counter[str] = Counter()
        self._last: dict[str, Any] = {}

    def take(self, route: str, status: int, fields: dict[str, Any]) -> None:
        """Take a request that ended. fields: what its line has."""
        if 400 <= status < 500 or status == 503:
            self._refuse(status, fields)
        elif route not in QUIET:
            self._write(SERVED, fields)

    def flush(self) -> None:
        """Write the line about refusals, if there were some."""
        if self._refused:
            self._write(REFUSED, {**self._refused, **self._last})
            self._refused.clear()

    def _refuse(self, status: int, fields: dict[str, Any]) -> None:
        if not self._refused:
            asyncio.get_running_loop().call_later(REFUSED_SECONDS, self.flush)
        self._refused[f"status_{status}"] += 1
        self._last = {"last_id": fields["id"], "last_route": fields["route"]}
