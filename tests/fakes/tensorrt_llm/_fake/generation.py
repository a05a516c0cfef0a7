# SPDX-License-Identifier: Apache-2.0
"""Conversion of SamplingParams to OpenVINO GenAI's; what GenAI does not support is an error."""

import os

import openvino_genai as genai
from tensorrt_llm._fake.facts import default_of
from tensorrt_llm._fake.requests.sampling_params import SamplingParams

MAPPED = {
    "end_id", "pad_id", "max_tokens", "stop", "stop_token_ids", "include_stop_str_in_output", "n",
    "best_of", "use_beam_search", "top_k", "top_p", "seed", "temperature", "min_tokens",
    "repetition_penalty", "ignore_eos", "presence_penalty", "frequency_penalty", "length_penalty",
    "early_stopping", "no_repeat_ngram_size", "min_p", "logprobs", "_stop_word_ids", "_bad_word_ids",
}  # fmt: skip
WITHOUT_TEXT = {"detokenize", "add_special_tokens", "skip_special_tokens", "spaces_between_special_tokens"}
NO_TOKEN = 2**31 - 1
PENALTIES = ("repetition_penalty", "presence_penalty", "frequency_penalty")


def check_computable(params: SamplingParams, is_engine: bool) -> None:
    for name, fact in params._facts.items():
        if name not in MAPPED | WITHOUT_TEXT and getattr(params, name) != default_of(fact):
            raise NotImplementedError(f"the fake cannot compute {name}")
    if (params.logprobs or 0) > 1 and not is_engine:
        raise NotImplementedError("for the PyTorch backend the fact sheet has no log probabilities but one")
    if params.use_beam_search:
        _refuse_for_beams(params)
    elif params._greedy and params.best_of > 1:
        raise NotImplementedError("the fake gives one sequence for greedy")
    elif not params._greedy and is_engine and not params.top_k and params.top_p is None:
        raise NotImplementedError(
            "top_k and top_p unset: C++ defaults then decide, and whether they are greedy the fact sheet "
            "does not say; send top_p=1.0"
        )


def _refuse_for_beams(params: SamplingParams) -> None:
    for name in ("temperature", "top_p", "top_k", "min_p", *PENALTIES):
        if getattr(params, name) is not None:
            raise NotImplementedError(f"the fake cannot compute {name} in a beam search")


def generation_config(
    params: SamplingParams, max_tokens: int, own_seed: int | None = None
) -> genai.GenerationConfig:
    """own_seed: the sampler's, which then ignores the request's seed and min_p."""
    config = genai.GenerationConfig()
    config.max_new_tokens = max_tokens
    # None is 1 in C++: the first token is no end token.
    config.min_new_tokens = 1 if params.min_tokens is None else params.min_tokens
    config.logprobs = int(bool(params.logprobs) or params.best_of > params.n)
    config.num_return_sequences = params.best_of
    _set_end(config, params)
    for name in (*PENALTIES, "no_repeat_ngram_size"):
        if getattr(params, name) is not None:
            setattr(config, name, getattr(params, name))
    if params.use_beam_search:
        config.num_beams = params.best_of
        config.length_penalty = params.length_penalty or 0.0
        config.stop_criteria = _stop_criteria(params.early_stopping)
    elif not params._greedy:
        _set_sampling(config, params)
        if own_seed is not None:
            config.rng_seed, config.min_p = own_seed, 0.0
    return config


def _set_sampling(config: genai.GenerationConfig, params: SamplingParams) -> None:
    config.do_sample = True
    config.temperature = 1.0 if params.temperature is None else params.temperature
    config.top_p = 1.0 if params.top_p is None else params.top_p
    config.top_k = params.top_k or 0
    config.min_p = params.min_p or 0.0
    config.rng_seed = params.seed or 0


def _set_end(config: genai.GenerationConfig, params: SamplingParams) -> None:
    """Set no stop words: the executor finds them itself, since they may have several tokens.

    A beam search of GenAI stops at the checkpoint's end token even with ignore_eos, unless it has another.
    """
    config.ignore_eos = end_id(params) == -1
    config.set_eos_token_id(NO_TOKEN if config.ignore_eos else end_id(params))
    if config.ignore_eos:
        config.min_new_tokens = 0  # else GenAI reads the logit of NO_TOKEN


def end_id(params: SamplingParams) -> int:
    return -1 if params.ignore_eos else params.end_id


def stop_words(params: SamplingParams) -> list[list[int]]:
    """Whether ignore_eos drops them in 1.2.1 is not known, so tests try both."""
    if params.ignore_eos and os.environ.get("FAKE_TRTLLM_IGNORE_EOS_DROPS_STOP") == "1":
        return []
    return [ids for _, ids in params._stop_words()]


def _stop_criteria(early_stopping: int | None) -> genai.StopCriteria:
    names = {None: genai.StopCriteria.EARLY, 1: genai.StopCriteria.EARLY, 0: genai.StopCriteria.HEURISTIC}
    return names.get(early_stopping, genai.StopCriteria.NEVER)
