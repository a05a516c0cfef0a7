# SPDX-License-Identifier: Apache-2.0
"""OpenVINO GenAI's pipeline, loaded with the executor's limits."""

import openvino_genai as genai
from tensorrt_llm._fake.model_dir import Limits

BLOCK = 32  # tokens a KV-cache block holds on CPU
MOST_BLOCKS = 4096  # memory is touched as it is used, but a default batch of 2048 is too much to reserve


def load_pipeline(limits: Limits, kv_cache_config) -> genai.ContinuousBatchingPipeline:
    scheduler = genai.SchedulerConfig()
    scheduler.max_num_seqs = limits.max_batch_size
    scheduler.max_num_batched_tokens = min(limits.max_num_tokens, 8192)
    tokens = kv_cache_config.max_tokens or limits.max_batch_size * limits.max_seq_len
    scheduler.num_kv_blocks = max(1, min(-(-tokens // BLOCK), MOST_BLOCKS))
    scheduler.enable_prefix_caching = False  # GenAI's gives garbage after a cancelled prompt
    tokenizer = genai.Tokenizer(limits.openvino_ir)  # wanted, though only ids go in
    frugal = {"CPU_RUNTIME_CACHE_CAPACITY": 200}  # else it keeps what it compiled for 5,000 shapes
    return genai.ContinuousBatchingPipeline(limits.openvino_ir, tokenizer, scheduler, "CPU", **frugal)


def total_blocks(limits: Limits) -> int:
    return min(-(-limits.max_batch_size * limits.max_seq_len // BLOCK), MOST_BLOCKS)
