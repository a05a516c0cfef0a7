# SPDX-License-Identifier: Apache-2.0
"""What the engine step measures: waiting, tokens made, load, limits. Knows no Triton."""

from __future__ import annotations

import time
from collections.abc import Callable

from llm_ensemble.engines.base import Engine, EngineStats
from llm_ensemble.manifest import Manifest
from llm_ensemble.metrics import Metrics
from llm_ensemble.settings import Settings

# From a place that is free to a queue before a laptop, seconds.
QUEUE_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 600)


class EngineReport:
    """One instance's. Its series have its number as label `instance`.

    stats: the engine's, asked once a second.
    """

    def __init__(
        self, metrics: Metrics, instance: int, stats: Callable[[], EngineStats] | None = None
    ) -> None:
        label = {"instance": str(instance)}
        # First of all, since it is what shows that the engine makes progress.
        self._generated = metrics.counter(
            "llm_generation_tokens_total", "Tokens that the engine made", **label
        )
        self._running = metrics.gauge("llm_requests_running", "Sequences that the engine runs", **label)
        self._waiting = metrics.gauge(
            "llm_requests_waiting", "Sequences that wait for a place in the engine's batch", **label
        )
        self._cache = metrics.gauge(
            "llm_kv_cache_usage_ratio", "Part of the KV cache that is in use, 0 to 1", **label
        )
        self._prompts = metrics.counter(
            "llm_prompt_tokens_total", "Tokens of the prompts that the engine let in", **label
        )
        self._queue = metrics.spread_histogram(
            "llm_queue_seconds",
            "Seconds from a request's arrival in the engine step until the engine let it run",
            QUEUE_SECONDS,
            **label,
        )
        if stats:
            metrics.each_second(lambda: self._look_at(stats()))

    def made(self, tokens: int) -> None:
        """The engine made so many tokens."""
        self._generated.add(tokens)

    def arrived(self, prompt_tokens: int) -> Callable[[], None]:
        """A request has come; what is returned is to be called once it runs."""
        came = time.monotonic()

        def let_in() -> None:
            self._queue.observe(time.monotonic() - came)
            self._prompts.add(prompt_tokens)

        return let_in

    def _look_at(self, stats: EngineStats) -> None:
        self._running.set(stats.running)
        self._waiting.set(stats.waiting)
        # An engine knows its cache as of its last step, after which nobody may have been left.
        self._cache.set(stats.kv_cache_usage if stats.running else 0)


def report_engine(
    metrics: Metrics, engine: Engine, manifest: Manifest, settings: Settings, instance: int
) -> EngineReport:
    """An instance's, with what is served and how much of it: constants, the same from every instance."""
    limits = manifest.limits
    for name, description, value in (
        ("llm_max_batch_size", "Sequences that each instance runs at a time", limits.max_batch_size),
        ("llm_max_waiting", "Sequences that may wait for each instance", settings.max_waiting),
        ("llm_max_seq_len", "Tokens of a prompt and its completion together", limits.max_seq_len),
    ):
        metrics.gauge(name, description).set(value)
    served = {"engine": manifest.engine, "model": manifest.model.name, "precision": manifest.precision}
    metrics.gauge("llm_engine_info", "What is served; always 1", **served).set(1)
    return EngineReport(metrics, instance, engine.stats)
