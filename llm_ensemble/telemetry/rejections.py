# SPDX-License-Identifier: Apache-2.0
"""Rejections: requests that got an error instead of being served. They are counted, with a log line a second.

Each stage counts its own.
"""

from __future__ import annotations

import threading

from llm_ensemble.contract.fields import FIELDS
from llm_ensemble.contract.unserved import UNSERVED
from llm_ensemble.errors import Overloaded, RequestError
from llm_ensemble.telemetry import names
from llm_ensemble.telemetry.metrics import Metrics
from llm_ensemble.telemetry.request_log import line_writer
from llm_ensemble.telemetry.request_metrics import REQUESTS

REASONS = ("invalid", "overloaded")
REJECTED = (names.REJECTED, "Requests that were rejected, by why: invalid, or overloaded")


class Rejections:
    """The rejections of one stage. Thread-safe."""

    def __init__(self, metrics: Metrics, log_format: str) -> None:
        self._rejected = {reason: metrics.counter(*REJECTED, reason=reason) for reason in REASONS}
        self._failed = metrics.counter(*REQUESTS, finish_reason="error")
        self._write_line = line_writer(log_format)
        self._lock = threading.Lock()
        self._unlogged = dict.fromkeys(REASONS, 0)
        self._last: dict[str, str] = {}
        metrics.each_second(self._log)

    def add(self, error: Exception, name: str) -> None:
        """Count an error that a request got. name: the request id of the client."""
        reason = reason_of(error)
        if not reason:
            self._failed.add()
            return
        self._rejected[reason].add()
        with self._lock:
            self._unlogged[reason] += 1
            self._last = {"last_id": name, "last_field": _field(error)}

    def _log(self) -> None:
        """Write one line for all rejections since the last: many bad requests must not write many lines."""
        with self._lock:
            unlogged, self._unlogged = self._unlogged, dict.fromkeys(REASONS, 0)
            last = self._last
        if any(unlogged.values()):
            self._write_line("refused", {**unlogged, **last})


def reason_of(error: Exception) -> str:
    """Return why a request was rejected; "" if it was not, but failed."""
    if isinstance(error, RequestError):
        return "invalid"
    return "overloaded" if isinstance(error, Overloaded) else ""


def _field(error: Exception) -> str:
    """Return the field that an error names, if the contract has it: any other name is a client's text."""
    field = getattr(error, "field", "")
    return field if field in FIELDS or field in UNSERVED else ""
