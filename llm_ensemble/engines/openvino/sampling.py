# SPDX-License-Identifier: Apache-2.0
"""Adapter for OpenVINO GenAI's pipeline: unsupported fields, sampling settings, results."""

from __future__ import annotations

from typing import Any

import openvino_genai as genai

from llm_ensemble.contract.guide import Guide
from llm_ensemble.contract.guides.guide_grammar import grammar_of
from llm_ensemble.contract.logit_bias import MAX_BIAS
from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.features import refuse_lacking
from llm_ensemble.engines.openvino.features import LACKS, SPECULATIVE_LACKS
from llm_ensemble.engines.openvino.settings import PLAIN, OpenVinoSettings
from llm_ensemble.engines.protocol import Tokens
from llm_ensemble.errors import RequestError

NO_TOKEN = 2**31 - 1
FINISH = {
    genai.GenerationFinishReason.NONE: "",
    genai.GenerationFinishReason.STOP: "stop",
    genai.GenerationFinishReason.LENGTH: "length",
}


def check_sampling(sampling: Sampling, settings: OpenVinoSettings = PLAIN) -> None:
    """Raise RequestError for a field that the openvino engine does not support."""
    refuse_lacking(sampling, LACKS)
    if settings.is_speculative:
        refuse_lacking(sampling, SPECULATIVE_LACKS)
    if sampling.beam_width > 1 and not sampling.greedy:
        raise RequestError(
            "beam_width", "the openvino engine does not sample in a beam search; leave out one or the other"
        )
    if sampling.guide:
        _check_guided(sampling, sampling.guide)
    if sampling.beam_width > 1 and sampling.repetition_penalty != 1:
        raise RequestError(
            "repetition_penalty", "the openvino engine has none in a beam search; leave out one or the other"
        )
    if sampling.bad_words or sampling.logit_bias:
        _check_forbidden(sampling)


def _check_guided(sampling: Sampling, guide: Guide) -> None:
    if sampling.beam_width > 1:
        raise RequestError(
            "beam_width", "the openvino engine has no guide in a beam search; leave out one or the other"
        )
    if sampling.num_return_sequences > 1:
        raise RequestError(
            "num_return_sequences",
            "the openvino engine guides one sequence (several would share the guide's state); send 1",
        )
    if not sampling.end_ids:
        raise RequestError(
            "ignore_eos", "a guided text ends with an end token; leave out ignore_eos and end_id -1"
        )
    grammar_of(guide)


def forbidden(sampling: Sampling) -> set[int]:
    """Return the tokens that must not be generated: bad words, and those that a bias of -100 forbids."""
    words = {word[0] for word in sampling.bad_words if word}
    return words | {token_id for token_id, bias in sampling.logit_bias.items() if bias <= -MAX_BIAS}


def _check_forbidden(sampling: Sampling) -> None:
    """Raise RequestError where the pipeline's way to forbid tokens (see _forbid) does not suffice."""
    field = "bad_words" if sampling.bad_words else sampling.bias_field
    if any(bias > -MAX_BIAS for bias in sampling.logit_bias.values()):
        raise RequestError(
            sampling.bias_field,
            f"the openvino engine has {-MAX_BIAS} alone, which forbids a token; leave it out",
        )
    if any(len(word) > 1 for word in sampling.bad_words):
        raise RequestError(
            field, "the openvino engine keeps out words of one token alone, also after a space; leave it out"
        )
    if sampling.beam_width > 1:
        raise RequestError(field, "the openvino engine has none in a beam search; leave out one or the other")
    if sampling.guide:
        raise RequestError(field, "the openvino engine has none with a guide; leave out one or the other")
    if not {*sampling.end_ids} - forbidden(sampling):
        return
    if sampling.min_tokens or sampling.num_return_sequences > 1:
        other = "min_tokens" if sampling.min_tokens else "num_return_sequences"
        raise RequestError(
            field, f"the openvino engine has none with {other}; leave it out, or send ignore_eos true with it"
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
    if sampling.guide:
        config.structured_output_config = genai.StructuredOutputConfig(grammar=grammar_of(sampling.guide))
    if tokens := forbidden(sampling):
        _forbid(config, tokens)
    else:
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


def _forbid(config: genai.GenerationConfig, tokens: set[int]) -> None:
    """Let the pipeline generate none of these tokens.

    They are its end tokens, which may not come before the last place: until min_new_tokens it takes their
    logits for -inf. The request's own end tokens are then none to the pipeline (see read_tokens).
    """
    for token_id in tokens:
        config.set_eos_token_id(token_id)  # adds one, in spite of its name
    config.min_new_tokens = config.max_new_tokens


def read_tokens(outputs: dict[int, Any], sampling: Sampling) -> list[Tokens]:
    """Convert what a handle's read() returned: one Tokens a sequence.

    Of a beam search, the num_return_sequences best beams, the best first. A request that forbids tokens may
    end with "stop" here while the pipeline goes on with it.
    """
    ranked = sorted(outputs)
    if sampling.beam_width > 1:
        ranked.sort(key=lambda sequence: -outputs[sequence].score)
    chosen = ranked[: sampling.num_return_sequences]
    return [_one_sequence(outputs[sequence], index, sampling) for index, sequence in enumerate(chosen)]


def _one_sequence(output: Any, index: int, sampling: Sampling) -> Tokens:
    ids, finish = output.generated_ids, FINISH[output.finish_reason]
    if sampling.end_ids and forbidden(sampling):
        if ends := [place for place, token_id in enumerate(ids) if token_id in sampling.end_ids]:
            ids, finish = ids[: ends[0]], "stop"
    elif finish == "stop" and ids and ids[-1] in sampling.end_ids:
        ids = ids[:-1]
    log_probs = output.generated_log_probs[: len(ids)] if sampling.log_probs else []
    return Tokens(ids, finish, index=index, log_probs=log_probs)
