# SPDX-License-Identifier: Apache-2.0
"""The limits of an engine for openvino."""

from __future__ import annotations

from build_scripts.limits import at_least_one, sequence_length
from build_scripts.options import BuildOptions
from llm_ensemble.manifest import Limits

DEFAULT_SEQ_LEN = 2048  # longer texts take more memory for the KV cache than most machines can spare
DEFAULT_BATCH_SIZE = 32
MAX_BEAMS = 8  # OpenVINO has no limit; each beam takes a slot
STEP_TOKENS = 256  # openvino-genai's own default for the tokens of one step


def cpu_limits(options: BuildOptions, positions: int) -> Limits:
    """Return the limits for a model of so many positions. Raise BuildError where they cannot be."""
    seq_len = sequence_length(options, positions, DEFAULT_SEQ_LEN)
    batch = at_least_one("--max-batch-size", options.max_batch_size, DEFAULT_BATCH_SIZE)
    return Limits(
        max_batch_size=batch,
        max_input_len=seq_len - 1,
        max_seq_len=seq_len,
        max_num_tokens=max(STEP_TOKENS, batch),
        max_beam_width=min(MAX_BEAMS, batch),
    )
