# SPDX-License-Identifier: Apache-2.0
"""What the openvino engine lacks."""

from __future__ import annotations

from llm_ensemble.engines.draft import lacking
from llm_ensemble.engines.features import GUIDES, Lacks

_WRONG = "the openvino engine gets it wrong (it raises unlikely tokens); try repetition_penalty"
LACKS: Lacks = {
    "top_log_probs": "the openvino engine gives the chosen token's alone; leave it out or send 0",
    "presence_penalty": _WRONG,
    "frequency_penalty": _WRONG,
}

# What the pipeline cannot do, or gets wrong, while it decodes speculatively (speculation.py says how), and
# what was not tried with it.
SPECULATIVE_LACKS: Lacks = lacking(
    (
        *("beam_width", "num_return_sequences", "min_tokens", "bad_words", "logit_bias"),
        *(*GUIDES, "lora_name"),
    ),
    "openvino",
)
