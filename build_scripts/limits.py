# SPDX-License-Identifier: Apache-2.0
"""Limits of an engine, and the GPUs that share it, as options give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from build_scripts.errors import BuildError
from build_scripts.options import BuildOptions
from llm_ensemble.manifest import Limits

DEFAULT_GPU_SEQ_LEN = 8192
STEP_TOKENS = 8192  # trtllm-build's own default


def sequence_length(options: BuildOptions, positions: int, default: int) -> int:
    """Return --max-seq-len, or the default as far as the model's positions allow. Raise BuildError."""
    seq_len = min(positions, default) if options.max_seq_len is None else options.max_seq_len
    if not 2 <= seq_len <= positions:
        raise BuildError(
            f"--max-seq-len {seq_len}: the model has {positions} positions; give 2 to {positions}"
        )
    return seq_len


def at_least_one(option: str, given: int | None, default: int) -> int:
    """Return the number given for an option, or the default. Raise BuildError below 1."""
    number = default if given is None else given
    if number < 1:
        raise BuildError(f"{option} {number}: give 1 or more")
    return number


def gpu_limits(options: BuildOptions, positions: int, batch_size: int) -> Limits:
    """Return the limits on GPUs, for a model of so many positions. Raise BuildError where they cannot be.

    batch_size: the default for --max-batch-size.
    """
    seq_len = sequence_length(options, positions, DEFAULT_GPU_SEQ_LEN)
    batch = at_least_one("--max-batch-size", options.max_batch_size, batch_size)
    beams = at_least_one("--max-beam-width", options.max_beam_width, 1)
    input_len = at_least_one("--max-input-len", options.max_input_len, seq_len - 1)
    if input_len >= seq_len:
        raise BuildError(
            f"--max-input-len {input_len}: leave room for a completion, {seq_len - 1} at most "
            f"(--max-seq-len is {seq_len})"
        )
    default = max(min(STEP_TOKENS, batch * seq_len), batch * beams)
    tokens = at_least_one("--max-num-tokens", options.max_num_tokens, default)
    if tokens < batch * beams:
        raise BuildError(
            f"--max-num-tokens {tokens}: one step of {batch} requests with {beams} beams needs "
            f"{batch * beams}; give that, or a smaller --max-batch-size"
        )
    return Limits(
        max_batch_size=batch,
        max_input_len=input_len,
        max_seq_len=seq_len,
        max_num_tokens=tokens,
        max_beam_width=beams,
    )


def tensor_parallel(options: BuildOptions, config: Mapping[str, Any]) -> int:
    """Return the GPUs that share each layer of the model of this config.json. Raise BuildError."""
    gpus = 1 if options.tensor_parallel is None else options.tensor_parallel
    heads = config.get("num_attention_heads") or config.get("n_head") or gpus
    if gpus < 1 or heads % gpus:
        fitting = [number for number in (1, 2, 4, 8) if heads % number == 0]
        raise BuildError(
            f"--tensor-parallel {gpus}: the model's {heads} attention heads must divide evenly; give "
            + " or ".join(map(str, fitting))
        )
    return gpus


def pipeline_parallel(options: BuildOptions, config: Mapping[str, Any]) -> int:
    """Return the groups of GPUs between which the model's layers are divided. Raise BuildError."""
    groups = at_least_one("--pipeline-parallel", options.pipeline_parallel, 1)
    layers = config.get("num_hidden_layers") or config.get("n_layer") or groups
    if groups > layers:
        raise BuildError(
            f"--pipeline-parallel {groups}: the model has {layers} layers; give {layers} at most"
        )
    return groups
