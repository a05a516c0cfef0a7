# SPDX-License-Identifier: Apache-2.0
"""Requests that were answered by an error instead of being served: counted, and one line a second in the log.

Each step counts what it refuses itself; ensemble_unary does not count again what the ensemble refused it.
"""

from __future__ import annotations

import threading

from llm_ensemble.errors import Overloaded, RequestError
from llm_ensemble.fields import FIELDS
from llm_ensemble.metrics import Metrics
from llm_ensemble.request_log import line_writer
from llm_ensemble.request_report import REQUESTS

REASONS = ("invalid", "overloaded")
REFUSED = ("llm_refused_total", "Requests that were refused, by why: the caller's fault, or no room")


class Refusals:
    """Those of one step. For any thread.

    failures: whether requests that failed are counted here; not where a step behind this one has done so.
    """

    def __init__(self, metrics: Metrics, log_format: str, failures: bool = True) -> None:
        self._refused = {reason: metrics.counter(*REFUSED, reason=reason) for reason in REASONS}
        self._failed = metrics.counter(*REQUESTS, finish_reason="error") if failures else None
        self._write_line = line_writer(log_format)
        self._lock = threading.Lock()
        self._untold = dict.fromkeys(REASONS, 0)
        self._last: dict[str, str] = {}
        metrics.each_second(self._tell)

    def add(self, error: Exception, name: str) -> None:
        """A request was answered with this error. name: the client's for it. What is ours is in the log."""
        reason = reason_of(error)
        if not reason:
            if self._failed:
                self._failed.add()
            return
        self._refused[reason].add()
        with self._lock:
            self._untold[reason] += 1
            self._last = {"last_id": name, "last_field": _field(error)}

    def _tell(self) -> None:
        """A line for all since the last: a flood of bad requests must not become one of lines."""
        with self._lock:
            untold, self._untold = self._untold, dict.fromkeys(REASONS, 0)
            last = self._last
        if any(untold.values()):
            self._write_line("refused", {**untold, **last})


def reason_of(error: Exception) -> str:
    """Why a request was refused; "" when it was not, but failed."""
    if isinstance(error, RequestError):
        return "invalid"
    return "overloaded" if isinstance(error, Overloaded) else ""


def _field(error: Exception) -> str:
    """The field at fault, if it is one of the contract's: any other name is the caller's own words."""
    field = getattr(error, "field", "")
    return field if field in FIELDS else ""
