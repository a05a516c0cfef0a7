# SPDX-License-Identifier: Apache-2.0
"""What has room in memory: the KV cache of each pipeline, and pipelines of adapters."""

from __future__ import annotations

import json
import os
from pathlib import Path

from llm_ensemble.engines.openvino.settings import PLAIN, OpenVinoSettings
from llm_ensemble.lora.adapters import Adapters
from llm_ensemble.manifest import ENGINE, Limits, Manifest

BLOCK = 32  # tokens of a KV-cache block on CPU; measured: 64 blocks of a model with 512 B a token are 1 MiB
# Of each pipeline, beside the file that all map: 1.08 with FP16, 1.13 with INT8 (a Llama of 250 M, measured).
WEIGHTS_IN_MEMORY = 1.15


def adapters_in_memory(folder: Path, adapters: Adapters) -> int:
    """Return how many adapters have a pipeline at a time: the weights are loaded again for each."""
    if adapters.most or not adapters:
        return adapters.in_memory
    weights = (folder / "openvino_model.bin").stat().st_size * WEIGHTS_IN_MEMORY
    return max(1, min(adapters.in_memory, int(_memory() // 2 // weights)))


def kv_blocks(
    folder: Path, manifest: Manifest, settings: OpenVinoSettings = PLAIN, pipelines: int = 1
) -> int:
    """Return the number of blocks of each pipeline's KV cache; a draft has as many."""
    affordable = _affordable_blocks(folder, manifest, settings) // pipelines
    return max(1, min(_needed_blocks(manifest.limits), affordable))


def uses_prefix_cache(
    folder: Path, manifest: Manifest, settings: OpenVinoSettings = PLAIN, pipelines: int = 1
) -> bool:
    """Return whether the prefix cache is on: only if the KV cache cannot run full.

    From a full cache the pipeline preempts requests and computes them again later, and one that is cancelled
    then leaves garbage in the prefix cache (see prefill.py). Nor with speculative decoding: a block that was
    filled with a proposed token is found under it after the token was rejected (11 of 34 prompts made so).
    """
    affordable = _affordable_blocks(folder, manifest, settings) // pipelines
    return _needed_blocks(manifest.limits) <= affordable and not settings.is_speculative


def max_prefill_only(limits: Limits) -> int:
    """Return how many aborted requests may complete their prefill beside a full batch.

    Further ones keep their slots until it is their turn.
    """
    return 1 + limits.max_batch_size // 8


def _needed_blocks(limits: Limits) -> int:
    """Return the blocks for all requests at full length, and one each for a copy.

    Memory is touched only as it is used.
    """
    return (limits.max_batch_size + max_prefill_only(limits)) * (-(-limits.max_seq_len // BLOCK) + 1)


def _affordable_blocks(folder: Path, manifest: Manifest, settings: OpenVinoSettings = PLAIN) -> int:
    """Return the number of blocks that half of this machine's memory holds, each with its draft's."""
    value_bytes = 4 if is_exact(manifest) else 2  # at most: the CPU plugin may keep fewer
    token_bytes = _kv_bytes_per_token(folder, value_bytes)
    if settings.draft_engine_dir:
        token_bytes += _kv_bytes_per_token(settings.draft_engine_dir / ENGINE, 2)
    return int(_memory() // 2 // (BLOCK * token_bytes))


def _memory() -> int:
    """Return the bytes of this machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _kv_bytes_per_token(folder: Path, value_bytes: int) -> int:
    """Return the size of one token's keys and values over all layers, in bytes."""
    config = json.loads((folder / "config.json").read_bytes())
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    values = 2 * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * head_dim
    return int(values * value_bytes)


def is_exact(manifest: Manifest) -> bool:
    """Return whether the model must generate what transformers does: its weights are not compressed."""
    return manifest.precision in ("fp16", "fp32")
