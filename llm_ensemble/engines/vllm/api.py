# SPDX-License-Identifier: Apache-2.0
"""Adapter for vLLM's AsyncLLM: loading, unsupported fields, sampling parameters, outputs.

Read in the source of 0.23.0 (the release for GPUs that requirements/vllm.txt pins) and 0.27.1 (the CPU build
of the tests), and run with both, the first on an H200.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.draft import DRAFT_TOKENS, NGRAM
from llm_ensemble.engines.features import refuse_lacking
from llm_ensemble.engines.protocol import Tokens
from llm_ensemble.engines.top_log_probs import chosen_and_top
from llm_ensemble.engines.vllm.environment import is_cpu
from llm_ensemble.engines.vllm.features import LACKS, SPECULATIVE_LACKS
from llm_ensemble.engines.vllm.guides.params import structured_outputs
from llm_ensemble.engines.vllm.settings import VllmSettings
from llm_ensemble.errors import EngineError, RequestError
from llm_ensemble.manifest import ENGINE, MODELOPT, Manifest

# A precision of the manifest that vLLM calls a dtype. Any other is the checkpoint's own quantization.
DTYPES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}
# vLLM takes a seed of -1 for none, and its newer GPU sampler stores 64 signed bits.
SEED_BITS = 2**63 - 1
PLAIN = VllmSettings()


def engine_arguments(engine_dir: Path, manifest: Manifest, settings: VllmSettings) -> dict[str, Any]:
    """Return the fields of vLLM's AsyncEngineArgs, but those of the tokenizer's folder and of guides.

    Of the tokenizer vLLM needs the vocabulary, for guides; texts it never sees. Which tokens end a request,
    sampling_params says.
    Log probabilities are those of the model's own distribution (logprobs_mode "raw_logprobs", the default).
    """
    limits = manifest.limits
    return {
        "model": str(engine_dir / ENGINE),
        "tokenizer_mode": "hf",
        "dtype": DTYPES.get(manifest.precision, "auto"),
        "quantization": "fp8" if _is_quantized_at_load(engine_dir, manifest) else None,
        "tensor_parallel_size": manifest.tensor_parallel,
        "pipeline_parallel_size": manifest.pipeline_parallel,
        "max_model_len": limits.max_seq_len,
        "max_num_seqs": limits.max_batch_size,
        "max_num_batched_tokens": limits.max_num_tokens,
        "gpu_memory_utilization": settings.gpu_memory_fraction,
        "enable_prefix_caching": settings.prefix_cache,
        "enforce_eager": not settings.cuda_graphs,
        "speculative_config": speculative_config(settings),
        "disable_log_stats": True,
        "enable_log_requests": False,
    }


def speculative_config(settings: VllmSettings) -> dict[str, Any] | None:
    """Return vLLM's field of that name, None without speculative decoding.

    A draft has the model's length and its number of GPUs, as vLLM sets them.
    """
    if settings.draft_engine_dir:
        model = str(settings.draft_engine_dir / ENGINE)
        return {"method": "draft_model", "model": model, "num_speculative_tokens": DRAFT_TOKENS}
    if settings.prompt_lookup:
        lookup = {"prompt_lookup_min": 1, "prompt_lookup_max": NGRAM}
        return {"method": "ngram", "num_speculative_tokens": DRAFT_TOKENS, **lookup}
    return None


def _is_quantized_at_load(engine_dir: Path, manifest: Manifest) -> bool:
    """Return whether vLLM makes FP8 of full weights; a checkpoint's own quantization it finds by itself."""
    folder = engine_dir / ENGINE
    if manifest.precision != "fp8" or (folder / MODELOPT).exists():
        return False
    return not json.loads((folder / "config.json").read_bytes()).get("quantization_config")


def read_sampling(sampling: Sampling, settings: VllmSettings = PLAIN) -> Any:
    """Return vLLM's SamplingParams. Raise RequestError for what vLLM does not support.

    vLLM's own refusals begin with the field's name, which is ours too: the range of temperature and of the
    penalties, which differs between releases. A temperature below 0.01 vLLM takes for 0.01.
    """
    refuse_lacking(sampling, LACKS)
    if settings.is_speculative:
        _check_speculative(sampling)
    if sampling.guide and sampling.min_tokens:
        raise RequestError(
            "min_tokens",
            "the vllm engine has none with a guide, which says itself what is long enough; leave it out",
        )
    try:
        return sampling_params(sampling)
    except RequestError:
        raise
    except Exception as error:
        field, _, problem = str(error.args[0] if error.args else error).partition(" ")
        raise RequestError(field, f"{problem.rstrip('.')} with the vllm engine") from error


def _check_speculative(sampling: Sampling) -> None:
    refuse_lacking(sampling, SPECULATIVE_LACKS)
    if not sampling.greedy and is_cpu():
        # 0.27.1: with top_k the engine dies of an index that is out of bounds; with a draft, other tokens
        # are drawn than the model's.
        raise RequestError(
            "temperature",
            "vLLM's CPU build draws wrong tokens with DRAFT_ENGINE_DIR or PROMPT_LOOKUP; send 0",
        )


def sampling_params(sampling: Sampling) -> Any:
    """Convert sampling settings to vLLM's."""
    # Not from vllm itself, which would look up its module again for each request, 40 us.
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    params = SamplingParams(
        n=sampling.num_return_sequences,
        max_tokens=sampling.max_tokens,
        min_tokens=sampling.min_tokens,
        stop_token_ids=sampling.end_ids or None,
        # The end tokens are in stop_token_ids; what ends a guide's text is the tokenizer's end token.
        ignore_eos=sampling.guide is None,
        structured_outputs=structured_outputs(sampling.guide) if sampling.guide else None,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
        logprobs=sampling.top_log_probs if sampling.log_probs else None,  # 0: the chosen token's alone
        repetition_penalty=sampling.repetition_penalty,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        logit_bias=sampling.logit_bias or None,
        skip_clone=True,  # this object is not used again
        **_choice(sampling),
    )
    if sampling.bad_words:
        # The public argument takes words, of which vLLM would make other tokens.
        params._bad_words_token_ids = sampling.bad_words
    return params


def _choice(sampling: Sampling) -> dict[str, Any]:
    """Return the fields by which the next token is chosen."""
    if sampling.greedy:
        return {"temperature": 0.0}
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "seed": sampling.seed & SEED_BITS,
    }


def engine_prompt(input_ids: list[int]) -> Any:
    """Return token ids as vLLM takes them."""
    from vllm.inputs.engine import tokens_input

    return tokens_input(input_ids)


def read_output(output: Any, sampling: Sampling) -> list[Tokens]:
    """Return the new tokens of a RequestOutput, without the end token, which vLLM returns.

    Raise EngineError if a sequence ended with an error, or a log probability is missing.
    """
    return [_read_sequence(sequence, sampling) for sequence in output.outputs]


def _read_sequence(sequence: Any, sampling: Sampling) -> Tokens:
    ids = list(sequence.token_ids)
    finish = sequence.finish_reason or ""
    if finish == "abort":
        finish = "cancelled"
    elif finish == "stop":
        del ids[-1:]  # the end token
    elif finish == "error" and sampling.guide:
        raise EngineError("no token was left that both the guide and the request's other fields allow")
    elif finish not in ("", "stop", "length"):
        raise EngineError(f"vLLM ended the request for the reason {finish!r}")
    if not sampling.log_probs:
        return Tokens(ids, finish, None, sequence.index)
    try:
        scores = chosen_and_top(zip(ids, sequence.logprobs or ()), sampling.top_log_probs)
    except LookupError as error:
        raise EngineError("vLLM left out a token's log probability") from error
    return Tokens(ids, finish, None, sequence.index, *scores)
