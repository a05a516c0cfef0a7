# SPDX-License-Identifier: Apache-2.0
"""Adapter for OpenVINO GenAI's pipeline: loading, unsupported fields, sampling settings, results."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import openvino_genai as genai

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.protocol import Tokens
from llm_ensemble.errors import EngineDirectoryError, RequestError
from llm_ensemble.manifest import Limits, Manifest

BLOCK = 32  # tokens of a KV-cache block on CPU; measured: 64 blocks of a model with 512 B a token are 1 MiB
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
NO_TOKEN = 2**31 - 1
FINISH = {
    genai.GenerationFinishReason.NONE: "",
    genai.GenerationFinishReason.STOP: "stop",
    genai.GenerationFinishReason.LENGTH: "length",
}


def load_pipeline(folder: Path, manifest: Manifest) -> genai.ContinuousBatchingPipeline:
    """Load the engine in `folder` with the manifest's limits; raise EngineDirectoryError if that fails."""
    limits = manifest.limits
    scheduler = genai.SchedulerConfig()
    scheduler.max_num_seqs = limits.max_batch_size
    scheduler.max_num_batched_tokens = limits.max_num_tokens
    scheduler.num_kv_blocks = max(1, min(_needed_blocks(limits), _affordable_blocks(folder, manifest)))
    scheduler.enable_prefix_caching = uses_prefix_cache(folder, manifest)
    os.environ.setdefault(ONEDNN_CACHE, ONEDNN_CACHE_ENTRIES)
    try:
        # The pipeline requires a tokenizer object. This one is empty, since only ids are passed.
        tokenizer = genai.Tokenizer(folder)
        properties = FRUGAL | EXACT if _is_exact(manifest) else FRUGAL
        return genai.ContinuousBatchingPipeline(folder, tokenizer, scheduler, "CPU", **properties)
    except RuntimeError as error:
        raise EngineDirectoryError(f"{folder} cannot be loaded ({error}): build the engine again") from error


def uses_prefix_cache(folder: Path, manifest: Manifest) -> bool:
    """Return whether the prefix cache is on: only if the KV cache cannot run full.

    From a full cache the pipeline preempts requests and computes them again later, and one that is cancelled
    then leaves garbage in the prefix cache (see prefill.py).
    """
    return _needed_blocks(manifest.limits) <= _affordable_blocks(folder, manifest)


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


def _affordable_blocks(folder: Path, manifest: Manifest) -> int:
    """Return the number of blocks that half of this machine's memory holds."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    value_bytes = 4 if _is_exact(manifest) else 2  # at most: the CPU plugin may keep fewer
    return int(memory // 2 // (BLOCK * _kv_bytes_per_token(folder, value_bytes)))


def _kv_bytes_per_token(folder: Path, value_bytes: int) -> int:
    """Return the size of one token's keys and values over all layers, in bytes."""
    config = json.loads((folder / "config.json").read_text())
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    values = 2 * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * head_dim
    return int(values * value_bytes)


def _is_exact(manifest: Manifest) -> bool:
    return manifest.precision in ("fp16", "fp32")


def check_sampling(sampling: Sampling) -> None:
    """Raise RequestError for a field that the openvino engine does not support."""
    if sampling.bad_words:
        raise RequestError("bad_words", "the openvino engine cannot keep words out; leave it out")
    if sampling.top_log_probs:
        raise RequestError(
            "top_log_probs", "the openvino engine gives the chosen token's alone; leave it out or send 0"
        )
    for name in ("presence_penalty", "frequency_penalty"):
        if getattr(sampling, name):
            raise RequestError(
                name, "the openvino engine gets it wrong (it raises unlikely tokens); try repetition_penalty"
            )
    if sampling.beam_width > 1 and not sampling.greedy:
        raise RequestError(
            "beam_width", "the openvino engine does not sample in a beam search; leave out one or the other"
        )
    if sampling.beam_width > 1 and sampling.repetition_penalty != 1:
        raise RequestError(
            "repetition_penalty", "the openvino engine has none in a beam search; leave out one or the other"
        )


def generation_config(sampling: Sampling) -> genai.GenerationConfig:
    """Convert sampling settings to the pipeline's."""
    config = genai.GenerationConfig()
    config.max_new_tokens = sampling.max_tokens
    config.min_new_tokens = sampling.min_tokens
    config.logprobs = int(sampling.log_probs)
    config.num_return_sequences = sampling.num_return_sequences
    config.repetition_penalty = sampling.repetition_penalty
    if sampling.beam_width > 1:
        config.num_beams = sampling.beam_width
        config.length_penalty = sampling.length_penalty
    _set_end_ids(config, sampling.end_ids)
    config.do_sample = not sampling.greedy
    if config.do_sample:
        config.temperature = sampling.temperature
        config.top_p = sampling.top_p
        config.top_k = sampling.top_k
        config.min_p = sampling.min_p
        config.rng_seed = sampling.seed
    return config


def _set_end_ids(config: genai.GenerationConfig, end_ids: list[int]) -> None:
    """Set the request's end tokens and no others.

    By default the pipeline adds the end token of the checkpoint's generation_config.json. A beam search adds
    it even with ignore_eos (observed), unless another one is set.
    """
    config.ignore_eos = not end_ids
    if not end_ids:
        config.set_eos_token_id(NO_TOKEN)
        config.min_new_tokens = 0  # else the pipeline reads that token's logit
    for end_id in end_ids:
        config.set_eos_token_id(end_id)  # adds one, in spite of its name


def read_tokens(outputs: dict[int, Any], sampling: Sampling) -> list[Tokens]:
    """Convert what a handle's read() returned: one Tokens a sequence.

    Of a beam search, the num_return_sequences best beams, the best first.
    """
    ranked = sorted(outputs)
    if sampling.beam_width > 1:
        ranked.sort(key=lambda sequence: -outputs[sequence].score)
    chosen = ranked[: sampling.num_return_sequences]
    return [_one_sequence(outputs[sequence], index, sampling) for index, sequence in enumerate(chosen)]


def _one_sequence(output: Any, index: int, sampling: Sampling) -> Tokens:
    ids, finish = output.generated_ids, FINISH[output.finish_reason]
    if finish == "stop" and ids and ids[-1] in sampling.end_ids:
        ids = ids[:-1]
    log_probs = output.generated_log_probs[: len(ids)] if sampling.log_probs else []
    return Tokens(ids, finish, index=index, log_probs=log_probs)
