# SPDX-License-Identifier: Apache-2.0
"""OpenVINO GenAI's settings against each other: tokens a second of the bare pipeline, in alternating rounds.

    python -m benchmarks.engine_settings engines/opt-125m-random --rounds 3

Each line changes one thing of what llm_ensemble.engines.openvino.pipeline sets. Its ratio is to the line
`as served` of the same round.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai as genai

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.openvino.pipeline import FRUGAL
from llm_ensemble.engines.openvino.sampling import generation_config
from llm_ensemble.manifest import ENGINE, Manifest, read_manifest

# name: what of the scheduler, what of the CPU plugin
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as served": ({}, {}),
    "no prefix caching": ({"enable_prefix_caching": False}, {}),
    "whole prompts (dynamic_split_fuse off)": ({"dynamic_split_fuse": False}, {}),
    "256 tokens a step": ({"max_num_batched_tokens": 256}, {}),
    "512 tokens a step": ({"max_num_batched_tokens": 512}, {}),
    "2048 tokens a step": ({"max_num_batched_tokens": 2048}, {}),
    "8192 tokens a step": ({"max_num_batched_tokens": 8192}, {}),
    "cache grows as needed": ({"num_kv_blocks": 0, "cache_size": 0}, {}),
    "cache of 1 GB": ({"num_kv_blocks": 0, "cache_size": 1}, {}),
    "KV cache bf16": ({}, {"KV_CACHE_PRECISION": "bf16"}),
    "KV cache u8": ({}, {"KV_CACHE_PRECISION": "u8"}),
    "hint LATENCY": ({}, {"PERFORMANCE_HINT": "LATENCY"}),
    "hint THROUGHPUT": ({}, {"PERFORMANCE_HINT": "THROUGHPUT"}),
    "1 thread": ({}, {"INFERENCE_NUM_THREADS": 1}),
    "2 threads": ({}, {"INFERENCE_NUM_THREADS": 2}),
    "threads not pinned": ({}, {"ENABLE_CPU_PINNING": False}),
    "threads pinned": ({}, {"ENABLE_CPU_PINNING": True}),
    "no dynamic quantization": ({}, {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}),
    "dynamic quantization by 64": ({}, {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "64"}),
}
BLOCK = 32


def load(folder: Path, manifest: Manifest, name: str) -> genai.ContinuousBatchingPipeline:
    """Load a pipeline as it is served, with one setting changed."""
    of_scheduler, of_plugin = SETTINGS[name]
    limits = manifest.limits
    scheduler = genai.SchedulerConfig()
    scheduler.max_num_seqs = limits.max_batch_size
    scheduler.max_num_batched_tokens = limits.max_num_tokens
    scheduler.num_kv_blocks = limits.max_batch_size * (limits.max_seq_len // BLOCK + 1)
    scheduler.enable_prefix_caching = True
    for key, value in of_scheduler.items():
        setattr(scheduler, key, value)
    return genai.ContinuousBatchingPipeline(
        folder, genai.Tokenizer(folder), scheduler, "CPU", **(FRUGAL | of_plugin)
    )


def tokens_a_second(pipeline: Any, prompts: list[list[int]], tokens: int) -> tuple[float, float]:
    """Return tokens a second of all prompts at once, and the longest step in seconds."""
    config = generation_config(Sampling(max_tokens=tokens, end_ids=[]))
    begin = time.monotonic()
    handles = [
        pipeline.add_request(number, ov.Tensor(np.array([ids], dtype=np.int64)), config)
        for number, ids in enumerate(prompts)
    ]
    longest = 0.0
    while pipeline.has_non_finished_requests():
        before = time.monotonic()
        pipeline.step()
        for handle in handles:
            if handle.can_read():
                handle.read()
        longest = max(longest, time.monotonic() - before)
    return len(prompts) * tokens / (time.monotonic() - begin), longest


def main() -> None:
    """Measure every setting in turn, in every round; print a line each."""
    parser = argparse.ArgumentParser(description="OpenVINO GenAI's settings against each other.")
    parser.add_argument("engine_dir", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--input-tokens", type=int, default=32)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--only", nargs="*", default=[*SETTINGS])
    asked = parser.parse_args()
    manifest = read_manifest(asked.engine_dir)
    draw = random.Random(0)
    names = ["as served", *(name for name in asked.only if name != "as served")]
    ratios: dict[str, list[float]] = {name: [] for name in names}
    longest: dict[str, float] = dict.fromkeys(names, 0.0)
    for _ in range(asked.rounds):
        served = 0.0
        for name in names:
            pipeline = load(asked.engine_dir / ENGINE, manifest, name)
            prompts = [
                [draw.randrange(300, 3000) for _ in range(asked.input_tokens)] for _ in range(asked.streams)
            ]
            tokens_a_second(pipeline, prompts, 8)
            prompts = [
                [draw.randrange(300, 3000) for _ in range(asked.input_tokens)] for _ in range(asked.streams)
            ]
            rate, slowest = tokens_a_second(pipeline, prompts, asked.output_tokens)
            served = served or rate
            ratios[name].append(rate / served)
            longest[name] = max(longest[name], slowest)
            sys.stderr.write(f"{name}: {rate:.0f} tokens/s\n")
            del pipeline
            gc.collect()
    for name in names:
        low, high = min(ratios[name]), max(ratios[name])
        figures = (
            f"{statistics.median(ratios[name]):.2f} | {low:.2f} to {high:.2f} | {longest[name] * 1000:.0f}"
        )
        sys.stdout.write(f"| {name} | {figures} |\n")


def _prompts(draw: random.Random, asked: argparse.Namespace) -> list[list[int]]:
    """Return prompts of random ids, so that no two begin alike."""
    return [[draw.randrange(300, 3000) for _ in range(asked.input_tokens)] for _ in range(asked.streams)]


if __name__ == "__main__":
    main()
