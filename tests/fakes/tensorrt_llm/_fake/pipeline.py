# SPDX-License-Identifier: Apache-2.0
"""OpenVINO GenAI's pipeline, loaded with the executor's limits."""

import openvino_genai as genai
from tensorrt_llm._fake.model_dir import Limits

BLOCK = 32  # tokens a KV-cache block holds on CPU
MAX_BLOCKS = 4096  # a default batch of 2048 would reserve too much

PROPERTIES = {
    "CPU_RUNTIME_CACHE_CAPACITY": 200,  # else it caches what it compiles for 5,000 shapes
    # Tokens then depend neither on the batch nor on the CPU's 16-bit arithmetic.
    "INFERENCE_PRECISION_HINT": "f32",
    "KV_CACHE_PRECISION": "f32",
}


def load_pipeline(limits: Limits, kv_cache_config, adapter=None) -> genai.ContinuousBatchingPipeline:
    scheduler = genai.SchedulerConfig()
    scheduler.max_num_seqs = limits.max_batch_size
    scheduler.max_num_batched_tokens = min(limits.max_num_tokens, 8192)
    tokens = kv_cache_config.max_tokens or limits.max_batch_size * limits.max_seq_len
    scheduler.num_kv_blocks = max(1, min(-(-tokens // BLOCK), MAX_BLOCKS))
    scheduler.enable_prefix_caching = False  # GenAI's has garbage after a request cancelled in prefill
    tokenizer = genai.Tokenizer(limits.openvino_ir)  # required, though only ids are passed
    properties = PROPERTIES | ({"adapters": adapter} if adapter else {})
    return genai.ContinuousBatchingPipeline(limits.openvino_ir, tokenizer, scheduler, "CPU", **properties)


def total_blocks(limits: Limits) -> int:
    return min(-(-limits.max_batch_size * limits.max_seq_len // BLOCK), MAX_BLOCKS)
