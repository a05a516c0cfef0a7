# SPDX-License-Identifier: Apache-2.0
"""Triton's metrics, which it serves on a port of their own, in Prometheus' text format."""

from __future__ import annotations

import contextlib
import re
import urllib.request

PENDING = re.compile(r'^nv_inference_pending_request_count\{model="([^"]+)"[^}]*\} (\d+)', re.MULTILINE)
SECONDS = 5  # they are a side dish, so nobody waits long for them


def pending_requests(url: str) -> dict[str, int] | None:
    """Requests that wait in Triton's own queue, by model; None where no metrics are served."""
    with contextlib.suppress(OSError, ValueError):
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            text = answer.read().decode()
        return {model: int(count) for model, count in PENDING.findall(text)}
    return None
