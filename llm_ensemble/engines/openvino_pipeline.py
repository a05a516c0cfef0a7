# SPDX-License-Identifier: Apache-2.0
"""OpenVINO GenAI's pipeline in our words: loading, what it cannot do, a request's settings, results."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import openvino_genai as genai

from llm_ensemble.engines.base import Tokens
from llm_ensemble.errors import EngineDirectoryError, RequestError
from llm_ensemble.manifest import Limits, Manifest
from llm_ensemble.sampling import Sampling

BLOCK = 32  # tokens a KV-cache block holds on CPU, seen: 64 blocks of a model with 512 B a token are 1 MiB
# Whoever keeps whole weights wants transformers' tokens, and the same ones whoever shares the batch. On CPUs
# with bfloat16 OpenVINO would compute in that, which changed 1.2 % of the demo model's greedy choices, and
# round keys and values, by which 20 of 100 sampled texts of 64 tokens changed in company; in f32, none.
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
# The CPU plugin keeps what it compiled for each shape it met, up to 5,000, and a batch has another size at
# every step: memory grew by 24 MB over 12,000 requests. With 200 it grew by 13, at the same speed.
FRUGAL = {"CPU_RUNTIME_CACHE_CAPACITY": 200}
NO_TOKEN = 2**31 - 1
FINISH = {
    genai.GenerationFinishReason.NONE: "",
    genai.GenerationFinishReason.STOP: "stop",
    genai.GenerationFinishReason.LENGTH: "length",
}


def load_pipeline(folder: Path, manifest: Manifest) -> genai.ContinuousBatchingPipeline:
    """Load the engine in `folder` with the manifest's limits; raises EngineDirectoryError if it cannot be."""
    limits = manifest.limits
    scheduler = genai.SchedulerConfig()
    scheduler.max_num_seqs = limits.max_batch_size
    scheduler.max_num_batched_tokens = limits.max_num_tokens
    scheduler.num_kv_blocks = max(1, min(_wanted_blocks(limits), _affordable_blocks(folder, manifest)))
    scheduler.enable_prefix_caching = shares_beginnings(folder, manifest)
    try:
        # The pipeline wants a tokenizer object; ours is empty, since only ids go in.
        tokenizer = genai.Tokenizer(folder)
        properties = FRUGAL | EXACT if _is_exact(manifest) else FRUGAL
        return genai.ContinuousBatchingPipeline(folder, tokenizer, scheduler, "CPU", **properties)
    except RuntimeError as error:
        raise EngineDirectoryError(f"{folder} cannot be loaded ({error}): build the engine again") from error


def shares_beginnings(folder: Path, manifest: Manifest) -> bool:
    """Whether prompts that begin alike share their beginnings' keys and values.

    Where the cache may run full the pipeline throws requests out and begins them again, and one that is
    cancelled then leaves garbage to share (see openvino_prompts.py).
    """
    return _wanted_blocks(manifest.limits) <= _affordable_blocks(folder, manifest)


def most_reading_on(limits: Limits) -> int:
    """Requests whose clients have left that may be read on beside a full batch; more keep their places."""
    return 1 + limits.max_batch_size // 8


def _wanted_blocks(limits: Limits) -> int:
    """Blocks for all of them at full length, and one each to copy. Memory is touched only as it is used."""
    return (limits.max_batch_size + most_reading_on(limits)) * (-(-limits.max_seq_len // BLOCK) + 1)


def _affordable_blocks(folder: Path, manifest: Manifest) -> int:
    """Blocks that half of this machine's memory holds."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    bytes_per_number = 4 if _is_exact(manifest) else 2  # at most: the CPU plugin may keep fewer
    return int(memory // 2 // (BLOCK * _kv_bytes_per_token(folder, bytes_per_number)))


def _kv_bytes_per_token(folder: Path, bytes_per_number: int) -> int:
    """Keys and values of one token over all layers."""
    config = json.loads((folder / "config.json").read_text())
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    numbers = 2 * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * head_dim
    return int(numbers * bytes_per_number)


def _is_exact(manifest: Manifest) -> bool:
    return manifest.precision in ("fp16", "fp32")


def refuse_what_it_cannot(sampling: Sampling) -> None:
    """Raises RequestError naming the field."""
    if sampling.bad_words:
        raise RequestError("bad_words", "the openvino engine cannot keep words out; leave it out")
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
    """The pipeline's words for a sampling."""
    config = genai.GenerationConfig()
    config.max_new_tokens = sampling.max_tokens
    config.min_new_tokens = sampling.min_tokens
    config.logprobs = int(sampling.log_probs)
    config.num_return_sequences = sampling.num_return_sequences
    config.repetition_penalty = sampling.repetition_penalty
    if sampling.beam_width > 1:
        config.num_beams = sampling.beam_width
        config.length_penalty = sampling.length_penalty
    _set_end(config, sampling.end_ids)
    config.do_sample = not sampling.greedy
    if config.do_sample:
        config.temperature = sampling.temperature
        config.top_p = sampling.top_p
        config.top_k = sampling.top_k
        config.min_p = sampling.min_p
        config.rng_seed = sampling.seed
    return config


def _set_end(config: genai.GenerationConfig, end_ids: list[int]) -> None:
    """The request alone says what ends a text.

    Left to itself the pipeline would add the end token of the checkpoint's generation_config.json. A beam
    search adds it even with ignore_eos (seen), unless there is another.
    """
    config.ignore_eos = not end_ids
    if not end_ids:
        config.set_eos_token_id(NO_TOKEN)
        config.min_new_tokens = 0  # or it would look for that token's logit
    for end_id in end_ids:
        config.set_eos_token_id(end_id)  # adds to those that stop


def tokens_of(outputs: dict[int, Any], sampling: Sampling) -> list[Tokens]:
    """What was read, best beams first, as many as were asked for."""
    ranked = sorted(outputs)
    if sampling.beam_width > 1:
        ranked.sort(key=lambda sequence: -outputs[sequence].score)
    chosen = ranked[: sampling.num_return_sequences]
    return [_one_sequence(outputs[sequence], index, sampling) for index, sequence in enumerate(chosen)]


def _one_sequence(output: Any, index: int, sampling: Sampling) -> Tokens:
    ids, finish = output.generated_ids, FINISH[output.finish_reason]
    if finish == "stop" and ids and ids[-1] in sampling.end_ids:
        ids = ids[:-1]  # the end token is no text
    log_probs = output.generated_log_probs[: len(ids)] if sampling.log_probs else []
    return Tokens(ids, finish, index=index, log_probs=log_probs)
