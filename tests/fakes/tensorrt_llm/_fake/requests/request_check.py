# SPDX-License-Identifier: Apache-2.0
"""Checks of generate_async before a request is queued."""

import logging
from pathlib import Path

from tensorrt_llm._fake.configs import TrtLlmArgs
from tensorrt_llm._fake.errors import RequestError
from tensorrt_llm._fake.model_dir import Limits, read_build_config, read_config
from tensorrt_llm._fake.requests.sampling_params import SamplingParams

log = logging.getLogger("tensorrt_llm")


def prompt_ids(inputs) -> list[int]:
    """Trap: only the first element is checked, which must be Python's own int."""
    if isinstance(inputs, dict):
        if set(inputs) != {"prompt_token_ids"}:
            raise ValueError(f"the fake takes prompt_token_ids alone, not {sorted(inputs)}")
        inputs = inputs["prompt_token_ids"]
    if isinstance(inputs, str):
        raise ValueError("a prompt of text needs a tokenizer: there is none")
    if not isinstance(inputs, list):
        raise TypeError(f"inputs must be a list of token ids, not {type(inputs).__name__}")
    assert type(inputs[0]) is int, f"token ids must be int, not {type(inputs[0]).__name__}"
    return [int(token_id) for token_id in inputs]


def check_params(params) -> None:
    if not isinstance(params, SamplingParams):
        raise TypeError(f"sampling_params must be SamplingParams, not {type(params).__name__}")
    if params.end_id is None:
        raise ValueError("sampling_params.end_id is required: there is no tokenizer")


def check_for_engine(folder: Path, args: TrtLlmArgs, limits: Limits, length: int, params) -> None:
    """Trap: this checks the engine's beam width; the executor checks the runtime's later."""
    build = read_build_config(folder)
    longest = build.max_seq_len or limits.max_seq_len
    if not args.enable_chunked_prefill and length + params.max_tokens > longest:
        raise ValueError(
            f"prompt ({length}) and max_tokens ({params.max_tokens}) exceed max_seq_len {longest}"
        )
    _check_width(params, build.max_beam_width, build.max_batch_size)
    if params.logprobs and not args.gather_generation_logits:
        raise ValueError("logprobs need gather_generation_logits=True in LLM(...)")
    if params.logprobs and not build.gather_generation_logits:
        raise ValueError("logprobs need an engine built with gather_generation_logits")
    check_bias(params, read_config(folder)["pretrained_config"])
    if params.prompt_logprobs and not build.gather_context_logits:
        raise ValueError("prompt_logprobs need an engine built with gather_context_logits")


def check_bias(params, model: dict) -> None:
    """Raise if a bias is not as long as the model's vocabulary. Trap: C++ does, late."""
    if params.embedding_bias is not None and len(params.embedding_bias) != model["vocab_size"]:
        raise RequestError(f"embedding_bias is not of the vocabulary's size, {model['vocab_size']}")


def check_for_pytorch(args, limits: Limits, length: int, params) -> None:
    """Raise for a request that is too long: RequestError with the PyTorch backend, else ValueError."""
    too_long = length + params.max_tokens > limits.max_seq_len or length > limits.max_num_tokens
    if too_long and not args.enable_chunked_prefill:
        raise RequestError(f"prompt ({length}) and max_tokens ({params.max_tokens}) do not fit {limits}")
    _check_width(params, limits.max_beam_width, limits.max_batch_size)


def clamp(limits: Limits, length: int, params: SamplingParams) -> int:
    """Return the max_tokens that fit; a prompt that leaves no room is refused when it is queued."""
    room = limits.max_seq_len - length
    if room < 1:
        raise RequestError(f"a prompt of {length} leaves no room in max_seq_len {limits.max_seq_len}")
    if params.max_tokens > room:
        log.warning("max_tokens %s is clamped to the %s that fit", params.max_tokens, room)
    return min(params.max_tokens, room)


def _check_width(params: SamplingParams, beams: int, batch: int) -> None:
    if params.use_beam_search and params.best_of > beams:
        raise ValueError(f"best_of {params.best_of} exceeds max_beam_width {beams}")
    if not params.use_beam_search and params.best_of > batch:
        raise ValueError(f"best_of {params.best_of} exceeds max_batch_size {batch}")
