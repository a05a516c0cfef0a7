# SPDX-License-Identifier: Apache-2.0
"""What the vllm engine lacks."""

from __future__ import annotations

from llm_ensemble.engines.draft import lacking
from llm_ensemble.engines.features import GUIDES, Lacks

LACKS: Lacks = {
    "beam_width": "the vllm engine has no beam search; leave it out or send 1",
}

# What vLLM refuses (min_p, logit_bias) or gets wrong while it decodes speculatively, and what was not tried
# with it. min_tokens: an end token is kept out of a whole step (0.27.1: a text was longer than without).
SPECULATIVE_LACKS: Lacks = lacking(("min_p", "logit_bias", "min_tokens", *GUIDES, "lora_name"), "vllm")
