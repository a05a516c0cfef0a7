# SPDX-License-Identifier: Apache-2.0
"""Usage of vLLM's KV cache, and the tokens of speculative decoding, from its statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def cache_usage_logger(
    on_usage: Callable[[float], None], on_drafts: Callable[[int, int], None] = lambda proposed, accepted: None
) -> Any:
    """Return a factory of vLLM's for a logger of statistics, which calls on_usage after each step.

    on_usage: takes the part of the KV cache in use, 0 to 1. on_drafts: takes the tokens of a step that were
    proposed and accepted. vLLM calls the interface unstable: of `record` the first argument is used, and only
    what it has.
    """
    from vllm.v1.metrics.loggers import PrometheusStatLogger

    # Beside a logger that is none of these, vLLM adds one: a histogram's observation for each token.
    class CacheUsage(PrometheusStatLogger):  # type: ignore[misc]
        def __init__(self, vllm_config: Any, engine_indexes: Any = None) -> None:
            """Take nothing from the configuration."""

        def record(self, scheduler_stats: Any = None, *_: Any, **__: Any) -> None:
            usage = getattr(scheduler_stats, "kv_cache_usage", None)
            if usage is not None:
                on_usage(usage)
            if (drafts := getattr(scheduler_stats, "spec_decoding_stats", None)) is not None:
                on_drafts(drafts.num_draft_tokens, drafts.num_accepted_tokens)

        def log_engine_initialized(self) -> None:
            """Log nothing."""

    return CacheUsage
