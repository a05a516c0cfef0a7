# SPDX-License-Identifier: Apache-2.0
"""Reads Triton's metrics: Prometheus' text format, served on a separate port."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

from llm_ensemble.telemetry import names
from llm_ensemble_client.address import Address

SAMPLE = re.compile(r"^([a-zA-Z_:]\w*)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
METRICS_PORT, MAX_PORT = 8002, 65535
PORT_OFFSETS = {"http": 2, "grpc": 1}  # from the protocol's port to that of the metrics
SECONDS = 5  # short: metrics are optional, a command works without them


@dataclass(frozen=True)
class EngineStatus:
    """The engine's model, limits and load.

    engine: the engine kind
    model, precision: as in the manifest
    running, waiting: sequences now, over all instances
    max_batch_size, max_waiting: maximum of sequences that run and wait, of each instance
    max_seq_len: maximum of tokens of a prompt and its completion together
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


def metrics_url(address: Address) -> str:
    """Return the URL of a server's metrics. By default Triton's HTTP, gRPC and metrics ports are consecutive.

    Behind a proxy (TLS, or a port below 1024) it has Triton's default port, 8002.
    """
    is_proxy = address.is_secure or not 1024 <= address.port <= MAX_PORT - 2
    port = METRICS_PORT if is_proxy else address.port + PORT_OFFSETS[address.scheme]
    return dataclasses.replace(address, scheme="http", port=port, prefix="/metrics").url


class Metrics:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self._samples = [
            (name, dict(LABEL.findall(labels)), value) for name, labels, value in SAMPLE.findall(text)
        ]

    @property
    def pending(self) -> dict[str, int]:
        """Requests that wait in Triton's own queues, by model."""
        found = self._find("nv_inference_pending_request_count")
        return {labels["model"]: int(value) for labels, value in found}

    @property
    def engine(self) -> EngineStatus | None:
        """The engine; None if the server has none of this project, or is still loading."""
        for served, _ in self._find(names.ENGINE_INFO):
            running = [*self._find(names.REQUESTS_RUNNING)]
            return EngineStatus(
                engine=served["engine"],
                model=served["model"],
                precision=served["precision"],
                instances=len(running),
                running=self._sum(names.REQUESTS_RUNNING),
                waiting=self._sum(names.REQUESTS_WAITING),
                max_batch_size=self._sum(names.MAX_BATCH_SIZE),
                max_waiting=self._sum(names.MAX_WAITING),
                max_seq_len=self._sum(names.MAX_SEQ_LEN),
            )
        return None

    def _find(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        return ((labels, float(value)) for found, labels, value in self._samples if found == name)

    def _sum(self, name: str) -> int:
        return int(sum(value for _, value in self._find(name)))


def read_metrics(url: str) -> Metrics | None:
    """Return the metrics at a URL; None if they cannot be read."""
    with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=SECONDS) as answer:
        return Metrics(answer.read().decode())
    return None
