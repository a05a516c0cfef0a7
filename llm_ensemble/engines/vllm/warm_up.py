# SPDX-License-Identifier: Apache-2.0
"""Requests before vLLM is ready.

The first of a shape compiles kernels, the first with a guide reads the whole vocabulary in the engine core.
"""

from __future__ import annotations

from typing import Any

from llm_ensemble.contract.guide import JSON, Guide
from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.vllm.api import read_sampling
from llm_ensemble.engines.vllm.settings import VllmSettings
from llm_ensemble.engines.vllm.token_sink import take_outputs

# A request of each kind.
WARM_UP = (
    Sampling(max_tokens=8, logit_bias={1: -1.0}),
    Sampling(
        max_tokens=8, greedy=False, top_k=50, top_p=0.9, min_p=0.01, frequency_penalty=0.1, log_probs=True
    ),
    Sampling(max_tokens=8, guide=Guide(JSON)),
)
SPECULATIVE = (Sampling(max_tokens=16),)  # of the rest, builds and releases of vLLM refuse different parts


async def warm_up(llm: Any, settings: VllmSettings, prompt: Any) -> None:
    """Generate for a prompt, one request after the other."""
    for number, sampling in enumerate(SPECULATIVE if settings.is_speculative else WARM_UP):
        params = read_sampling(sampling, settings)
        await take_outputs(llm, prompt, params, f"warm-up {number}", lambda output: None, direct=False)
