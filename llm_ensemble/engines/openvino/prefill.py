# SPDX-License-Identifier: Apache-2.0
"""Tracks which requests are in prefill, which OpenVINO GenAI's pipeline does not report.

A request that is cancelled during prefill leaves garbage in the prefix cache: the last block that a step
wrote to counts as full of the prompt's tokens even if it is only begun (observed with 2026.4.1).
"""

from __future__ import annotations

from llm_ensemble.engines.scheduler import ActiveRequest


class PrefillTracker:
    """Counts the prompt tokens that every step computes at least, as the pipeline's scheduler assigns them.

    Each running sequence gets one token first; the rest goes to the prompts in the order of their arrival. A
    prompt that begins like an earlier one is complete sooner than counted here. None is complete later, as
    long as the KV cache has room for all requests.

    tokens_per_step: the pipeline's max_num_batched_tokens.
    """

    def __init__(self, tokens_per_step: int) -> None:
        self._tokens_per_step = tokens_per_step
        self._remaining: dict[ActiveRequest, int] = {}  # prompt tokens that may not be computed yet, in order

    def add(self, active: ActiveRequest) -> None:
        """Track a request that was added to the pipeline."""
        self._remaining[active] = len(active.request.input_ids)

    def is_incomplete(self, active: ActiveRequest) -> bool:
        """Return whether the request may still be in prefill."""
        return active in self._remaining

    def remove(self, active: ActiveRequest) -> None:
        """Stop tracking a request that has generated a token or has ended; no-op if it is not tracked."""
        self._remaining.pop(active, None)

    def step(self, running: int) -> None:
        """Count one step of the pipeline; running: sequences of all its requests, those in prefill too."""
        tokens = max(0, self._tokens_per_step - running)
        for active in list(self._remaining):
            computed = min(tokens, self._remaining[active])
            tokens -= computed
            self._remaining[active] -= computed
            if not self._remaining[active]:
                del self._remaining[active]
