# SPDX-License-Identifier: Apache-2.0
"""How many requests and tokens an engine is made for: what was ordered, within what can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from build_scripts.build_error import BuildError
from llm_ensemble.manifest import Limits

if TYPE_CHECKING:
    from build_scripts.order import Order

CPU_SEQ_LEN = 2048  # the KV cache of longer texts is for those who ask for it
CPU_BATCH = 32
CPU_MOST_BEAMS = 8  # OpenVINO knows no limit; each beam takes a place in the batch
CPU_STEP_TOKENS = 256  # openvino-genai's own default for the tokens of one step
GPU_SEQ_LEN = 8192
GPU_BATCH = 128  # activations and sampling buffers grow with it; a GPU is busy by then
GPU_STEP_TOKENS = 8192  # trtllm-build's own default


def cpu_limits(order: Order, positions: int) -> Limits:
    """For openvino, which needs to know only two of them. Raises BuildError where they cannot be."""
    seq_len = _seq_len(order, positions, CPU_SEQ_LEN)
    batch = _at_least_one("--max-batch-size", order.max_batch_size, CPU_BATCH)
    return Limits(
        max_batch_size=batch,
        max_input_len=seq_len - 1,
        max_seq_len=seq_len,
        max_num_tokens=max(CPU_STEP_TOKENS, batch),
        max_beam_width=min(CPU_MOST_BEAMS, batch),
    )


def gpu_limits(order: Order, positions: int) -> Limits:
    """For tensorrt_llm: all of them are built in. Raises BuildError where they cannot be."""
    seq_len = _seq_len(order, positions, GPU_SEQ_LEN)
    batch = _at_least_one("--max-batch-size", order.max_batch_size, GPU_BATCH)
    beams = _at_least_one("--max-beam-width", order.max_beam_width, 1)
    input_len = _at_least_one("--max-input-len", order.max_input_len, seq_len - 1)
    if input_len >= seq_len:
        raise BuildError(
            f"--max-input-len {input_len}: leave room for an answer, {seq_len - 1} at most "
            f"(--max-seq-len is {seq_len})"
        )
    usual = max(min(GPU_STEP_TOKENS, batch * seq_len), batch * beams)
    tokens = _at_least_one("--max-num-tokens", order.max_num_tokens, usual)
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


def _seq_len(order: Order, positions: int, usual: int) -> int:
    seq_len = min(positions, usual) if order.max_seq_len is None else order.max_seq_len
    if not 2 <= seq_len <= positions:
        raise BuildError(
            f"--max-seq-len {seq_len}: the model has {positions} positions; give 2 to {positions}"
        )
    return seq_len


def _at_least_one(option: str, ordered: int | None, usual: int) -> int:
    number = usual if ordered is None else ordered
    if number < 1:
        raise BuildError(f"{option} {number}: give 1 or more")
    return number
