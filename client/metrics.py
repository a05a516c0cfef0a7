# SPDX-License-Identifier: Apache-2.0
"""Triton's metrics, which it serves on a port of their own, in Prometheus' text format."""

from __future__ import annotations

import contextlib
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

SAMPLE = re.compile(r"^([a-zA-Z_:]\w*)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
SECONDS = 5  # they are a side dish, so nobody waits long for them


@dataclass(frozen=True)
class EngineStatus:
    """What the engine serves, how much of it, and its load, added up over its instances.

    running, waiting: sequences now. max_batch_size, max_waiting: sequences of each instance.
    max_seq_len: tokens of a prompt and its completion together.
    """

    engine: str
    model: str
    precision: str
    instances: int
    running: int
    waiting: int
    max_batch_size: int
    max_waiting: int
    max_seq_len: int


class Metrics:
    """All samples of one moment."""

    def __init__(self, text: str) -> None:
        self._samples = [
            (name, dict(LABEL.findall(labels)), value) for name, labels, value in SAMPLE.findall(text)
        ]

    @property
    def pending(self) -> dict[str, int]:
        """Requests that wait in Triton's own queue, by model."""
        found = self._find("nv_inference_pending_request_count")
        return {labels["model"]: int(value) for labels, value in found}

    @property
    def engine(self) -> EngineStatus | None:
        """None for a server that is not this project's."""
        for served, _ in self._find("llm_engine_info"):
            running = [*self._find("llm_requests_running")]
            return EngineStatus(
                engine=served["engine"],
                model=served["model"],
                precision=served["precision"],
                instances=len(running),
                running=self._sum("llm_requests_running"),
                waiting=self._sum("llm_requests_waiting"),
                max_batch_size=self._sum("llm_max_batch_size"),
                max_waiting=self._sum("llm_max_waiting"),
                max_seq_len=self._sum("llm_max_seq_len"),
            )
        return None

    def _find(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        return ((labels, float(value)) for found, labels, value in self._samples if found == name)

    def _sum(self, name: str) -> int:
        return int(sum(value for _, value in self._find(name)))


def read_metrics(url: str) -> Metrics | None:
    """None where no metrics are served."""
    with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=SECONDS) as answer:
        return Metrics(answer.read().decode())
    return None
