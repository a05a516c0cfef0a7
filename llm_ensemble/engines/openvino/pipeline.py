# SPDX-License-Identifier: Apache-2.0
"""Loading of OpenVINO GenAI's pipeline."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai as genai

from llm_ensemble.engines.draft import DRAFT_TOKENS
from llm_ensemble.engines.openvino.kv_cache import BLOCK, is_exact, kv_blocks, uses_prefix_cache
from llm_ensemble.engines.openvino.settings import PLAIN, OpenVinoSettings
from llm_ensemble.engines.openvino.speculation import draft_folder, sequence_blocks
from llm_ensemble.errors import EngineDirectoryError
from llm_ensemble.lora.adapter import Adapter, read_scaled
from llm_ensemble.manifest import Manifest

# Models with uncompressed weights should generate the tokens of transformers, whatever else is in the batch.
# On CPUs with bfloat16 OpenVINO would compute in it, which changed 1.2 % of the demo model's greedy choices,
# and round keys and values, which changed 20 of 100 sampled texts of 64 tokens in a shared batch; with f32,
# none changed.
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
# The CPU plugin caches what it compiles for each shape, up to 5,000 entries, and the size of the batch
# changes at every step: memory grew by 24 MB over 12,000 requests. With 200 entries it grew by 13 MB, at the
# same speed.
FRUGAL = {"CPU_RUNTIME_CACHE_CAPACITY": 200}
# oneDNN, inside OpenVINO, caches the code it generates for each shape, 1,024 entries by default, and memory
# still grew after 56,000 requests; with 64 it levels off. oneDNN reads this variable when it generates the
# first one.
ONEDNN_CACHE, ONEDNN_CACHE_ENTRIES = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64"


def load_pipeline(
    folder: Path,
    manifest: Manifest,
    settings: OpenVinoSettings = PLAIN,
    pipelines: int = 1,
    adapter: genai.AdapterConfig | None = None,
    tokenizer: genai.Tokenizer | None = None,
) -> genai.ContinuousBatchingPipeline:
    """Load the engine in `folder` with the manifest's limits; raise EngineDirectoryError if that fails.

    pipelines: of the engine, which share the memory for KV caches. tokenizer: that of guides; without one the
    pipeline guides nothing. Only ids are passed.
    """
    scheduler = _scheduler_config(folder, manifest, settings, pipelines)
    os.environ.setdefault(ONEDNN_CACHE, ONEDNN_CACHE_ENTRIES)
    properties: dict[str, Any] = FRUGAL | EXACT if is_exact(manifest) else {**FRUGAL}
    if adapter:
        properties["adapters"] = adapter
    if settings.prompt_lookup:
        properties["prompt_lookup"] = True
    try:
        if draft_dir := settings.draft_engine_dir:
            with draft_folder(draft_dir) as (of_draft, draft):
                properties["draft_model"] = genai.draft_model(
                    draft, "CPU", scheduler_config=scheduler, **FRUGAL
                )
                return genai.ContinuousBatchingPipeline(folder, of_draft, scheduler, "CPU", **properties)
        tokenizer = tokenizer or genai.Tokenizer(folder)  # an empty one: the pipeline requires an object
        return genai.ContinuousBatchingPipeline(folder, tokenizer, scheduler, "CPU", **properties)
    except RuntimeError as error:
        raise EngineDirectoryError(f"{folder} cannot be loaded ({error}): build the engine again") from error


def _scheduler_config(
    folder: Path, manifest: Manifest, settings: OpenVinoSettings, pipelines: int
) -> genai.SchedulerConfig:
    limits = manifest.limits
    scheduler = genai.SchedulerConfig()
    scheduler.max_num_seqs = limits.max_batch_size
    scheduler.max_num_batched_tokens = limits.max_num_tokens
    if settings.draft_engine_dir:
        # No prompt may be split; how many enter together is decided before (WholePrompts).
        scheduler.max_num_batched_tokens += limits.max_seq_len + limits.max_batch_size * (DRAFT_TOKENS + 1)
    scheduler.num_kv_blocks = kv_blocks(folder, manifest, settings, pipelines)
    scheduler.enable_prefix_caching = uses_prefix_cache(folder, manifest, settings, pipelines)
    if settings.is_speculative and scheduler.num_kv_blocks < sequence_blocks(limits.max_seq_len, BLOCK):
        raise EngineDirectoryError(
            "half of the memory is too small for the KV cache of one request and its draft: unset "
            "DRAFT_ENGINE_DIR, or build with a smaller --max-seq-len"
        )
    return scheduler


def load_adapter(adapter: Adapter) -> genai.AdapterConfig:
    """Return an adapter for load_pipeline, as constants beside the model's own weights.

    Its scaling is in its tensors: the pipeline reads no adapter_config.json and has one factor for all.
    """
    tensors = np.frombuffer(read_scaled(adapter), np.uint8).copy()
    mode = genai.AdapterConfig.Mode.MODE_STATIC
    return genai.AdapterConfig(genai.Adapter(ov.Tensor(tensors)), 1.0, mode)
