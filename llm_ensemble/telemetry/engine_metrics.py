# SPDX-License-Identifier: Apache-2.0
"""The metrics of the engine stage: queue, tokens, load, limits."""

from __future__ import annotations

import time
from collections.abc import Callable

from llm_ensemble.engines.protocol import Engine, EngineStats
from llm_ensemble.manifest import Manifest
from llm_ensemble.settings import Settings
from llm_ensemble.telemetry import names
from llm_ensemble.telemetry.metrics import Metrics

# Seconds: from a free slot to the queue of a laptop.
QUEUE_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 600)


class EngineReport:
    """The report of one instance, whose series have its number as label `instance`.

    stats: the engine's, asked once a second. drafts: whether they have draft tokens.
    """

    def __init__(
        self,
        metrics: Metrics,
        instance: int,
        stats: Callable[[], EngineStats] | None = None,
        drafts: bool = False,
    ) -> None:
        label = {"instance": str(instance)}
        # First of all, since it is what shows that the engine makes progress.
        self._generated = metrics.counter(
            names.GENERATION_TOKENS, "Tokens that the engine generated", **label
        )
        self._running = metrics.gauge(names.REQUESTS_RUNNING, "Sequences that the engine runs", **label)
        self._waiting = metrics.gauge(names.REQUESTS_WAITING, "Sequences that wait for a slot", **label)
        self._cache = metrics.gauge(
            names.KV_CACHE_USAGE, "Part of the KV cache that is in use, 0 to 1", **label
        )
        self._prompts = metrics.counter(
            names.PROMPT_TOKENS, "Tokens of the prompts that the engine scheduled", **label
        )
        self._queue = metrics.histogram(
            names.QUEUE_TIME,
            "Seconds from a request's arrival in the engine stage until it was scheduled",
            QUEUE_SECONDS,
            **label,
        )
        self._drafts = _DraftReport(metrics, label) if drafts else None
        if stats:
            metrics.each_second(lambda: self._look_at(stats()))

    def on_tokens(self, tokens: int) -> None:
        """Count tokens that the engine generated."""
        self._generated.add(tokens)

    def on_arrival(self, prompt_tokens: int) -> Callable[[], None]:
        """Note the arrival of a request; return what is to be called when it is scheduled."""
        arrived_at = time.monotonic()

        def on_scheduled() -> None:
            self._queue.observe(time.monotonic() - arrived_at)
            self._prompts.add(prompt_tokens)

        return on_scheduled

    def _look_at(self, stats: EngineStats) -> None:
        self._running.set(stats.running)
        self._waiting.set(stats.waiting)
        # An engine's figure is that of its last step, after which the last request may have ended.
        self._cache.set(stats.kv_cache_usage if stats.running else 0)
        if self._drafts:
            self._drafts.look_at(stats)


class _DraftReport:
    """The counters of speculative decoding; only an engine that reports them has the series."""

    def __init__(self, metrics: Metrics, label: dict[str, str]) -> None:
        self._proposed = metrics.counter(
            names.DRAFT_TOKENS, "Tokens that speculative decoding proposed", **label
        )
        self._accepted = metrics.counter(
            names.ACCEPTED_DRAFT_TOKENS, "Proposed tokens that the model accepted", **label
        )
        self._told = (0, 0)

    def look_at(self, stats: EngineStats) -> None:
        """Take the engine's totals."""
        totals = (stats.draft_tokens or 0, stats.accepted_draft_tokens)
        self._proposed.add(totals[0] - self._told[0])
        self._accepted.add(totals[1] - self._told[1])
        self._told = totals


def report_engine(
    metrics: Metrics, engine: Engine, manifest: Manifest, settings: Settings, instance: int
) -> EngineReport:
    """Return an instance's report, after setting the constants: what is served, and its limits."""
    limits = manifest.limits
    for name, description, value in (
        (names.MAX_BATCH_SIZE, "Sequences that each instance runs at a time", limits.max_batch_size),
        (names.MAX_WAITING, "Sequences that may wait for each instance", settings.max_waiting),
        (names.MAX_SEQ_LEN, "Tokens of a prompt and its completion together", limits.max_seq_len),
    ):
        metrics.gauge(name, description).set(value)
    served = {"engine": manifest.engine, "model": manifest.model.name, "precision": manifest.precision}
    metrics.gauge(names.ENGINE_INFO, "What is served; always 1", **served).set(1)
    drafts = engine.stats().draft_tokens is not None
    return EngineReport(metrics, instance, engine.stats, drafts)
