# SPDX-License-Identifier: Apache-2.0
"""Sampling: how the next token of a sequence is chosen, and how many sequences a request has."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from llm_ensemble.contract.guide import Guide
from llm_ensemble.contract.guides.tool_guide import guide_of
from llm_ensemble.contract.logit_bias import read_logit_bias
from llm_ensemble.contract.request_fields import RequestFields
from llm_ensemble.errors import RequestError
from llm_ensemble.manifest import Limits, RequestDefaults

# Below it a logit divided by the temperature may overflow FP32: at 1e-45 OpenVINO sampled uniformly (seen).
MIN_TEMPERATURE = 1e-6
RANDOM_FIELDS = ("temperature", "top_p", "top_k", "min_p")
ALL_TOKENS = -1  # top_k of vLLM's and TensorRT-LLM's clients; 0 here


class Sampling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The sampling of one request, complete: no value is left to an engine's default.

    max_tokens, min_tokens: tokens to generate, at most and at least. end_ids: tokens that end a sequence, but
    not before min_tokens. pad_id: for engines that pad; never part of the text. greedy: take the most
    probable token; temperature to seed then have no effect. temperature: divides the logits, above 0. top_p:
    probability mass kept, above 0 and at most 1. min_p: tokens kept have at least this part of the highest
    probability, below 1. top_k: tokens kept, 0 for all. seed: unsigned, 64 bits; the same seed gives the same
    text on one engine. seed_field: the input by which the client sent it, "" if it was drawn for the request.
    repetition_penalty: divides (multiplies, if negative) the logits of tokens in the prompt or the
    completion. presence_penalty, frequency_penalty: subtracted from the logits of generated tokens, once or
    each time. beam_width: beams searched, 1 for no search. length_penalty: a beam's score is its log
    probability over its length to this power. num_return_sequences: sequences of the request. bad_words:
    sequences of ids that must not be generated. log_probs: whether log probabilities are requested.
    top_log_probs: of how many of the most probable tokens at each place, beside the chosen one's. logit_bias:
    added to the logits of these ids. bias_field: the input by which the client sent it. guide: what the text
    must match. lora: the adapter, "" for none. lora_field: the input by which the client sent it.
    """

    max_tokens: int
    min_tokens: int = 0
    end_ids: list[int] = []
    pad_id: int | None = None
    greedy: bool = True
    temperature: float = 1.0
    top_p: float = 1.0
    min_p: float = 0.0
    top_k: int = 0
    seed: int = 0
    seed_field: str = ""
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    beam_width: int = 1
    length_penalty: float = 1.0
    num_return_sequences: int = 1
    bad_words: list[list[int]] = []
    log_probs: bool = False
    top_log_probs: int = 0
    logit_bias: dict[int, float] = {}
    bias_field: str = "logit_bias"
    guide: Guide | None = None
    lora: str = ""
    lora_field: str = "lora_name"

    @property
    def width(self) -> int:
        """Slots that the request takes."""
        return max(self.beam_width, self.num_return_sequences)


def read_sampling(
    fields: RequestFields,
    max_tokens: int,
    bad_words: list[list[int]],
    limits: Limits,
    defaults: RequestDefaults,
    vocabulary: int,
) -> Sampling:
    """Return the sampling of a request.

    bad_words: the encoded field. Raise RequestError for values that do not fit the engine's limits or each
    other.
    """
    if fields.min_tokens > max_tokens:
        raise RequestError(
            fields.name_of("min_tokens"),
            f"got {fields.min_tokens}, must be at most max_tokens, which is {max_tokens} here",
        )
    end_ids = _end_ids(fields, defaults, vocabulary)
    greedy = _is_greedy(fields)
    _check_beams(fields, limits)
    if fields.top_log_probs and not fields.return_log_probs:
        raise RequestError(
            "top_log_probs", "comes with log probabilities; send return_log_probs true with it"
        )
    return Sampling(
        max_tokens=max_tokens,
        min_tokens=fields.min_tokens,
        end_ids=end_ids,
        pad_id=defaults.pad_id,
        repetition_penalty=fields.repetition_penalty,
        presence_penalty=fields.presence_penalty,
        frequency_penalty=fields.frequency_penalty,
        beam_width=fields.beam_width,
        length_penalty=fields.length_penalty,
        num_return_sequences=_num_return_sequences(fields, limits, greedy),
        bad_words=bad_words,
        log_probs=fields.return_log_probs,
        top_log_probs=fields.top_log_probs,
        logit_bias=read_logit_bias(fields.logit_bias, vocabulary),
        guide=guide_of(fields),
        lora=fields.lora_name,
        lora_field=fields.name_of("lora_name"),
        **({} if greedy else _random(fields)),
    )


def _is_greedy(fields: RequestFields) -> bool:
    """Return whether no field that makes sampling random was sent, or one has a value that means greedy."""
    if all(getattr(fields, name) is None for name in RANDOM_FIELDS):
        return True
    is_cold = fields.temperature is not None and fields.temperature < MIN_TEMPERATURE
    return is_cold or fields.top_p == 0 or fields.top_k == 1 or fields.min_p == 1


def _random(fields: RequestFields) -> dict[str, Any]:
    """Return the values of random sampling. A seed is drawn where none was sent: engines would repeat one."""
    sent = {name: value for name in RANDOM_FIELDS if (value := getattr(fields, name)) is not None}
    if fields.top_k == ALL_TOKENS:
        sent["top_k"] = 0
    if fields.seed is None:
        return {"greedy": False, "seed": random.getrandbits(64), **sent}
    return {"greedy": False, "seed": fields.seed, "seed_field": fields.name_of("seed"), **sent}


def _end_ids(fields: RequestFields, defaults: RequestDefaults, vocabulary: int) -> list[int]:
    """Return the end tokens; an end_id of -1 is TensorRT-LLM's way to have none."""
    if fields.end_id is not None and fields.end_id >= vocabulary:
        raise RequestError(
            "end_id", f"got {fields.end_id}, must be at most {vocabulary - 1}, the last of the vocabulary"
        )
    if fields.ignore_eos or fields.end_id == -1:
        return []
    return defaults.end_ids if fields.end_id is None else [fields.end_id]


def _check_beams(fields: RequestFields, limits: Limits) -> None:
    if fields.beam_width > limits.max_beam_width:
        raise RequestError(
            "beam_width",
            f"got {fields.beam_width}, at most {limits.max_beam_width} with this engine (its max_beam_width)",
        )
    if fields.length_penalty != 1 and fields.beam_width == 1:
        raise RequestError("length_penalty", "chooses among beams; send a beam_width above 1 with it")


def _num_return_sequences(fields: RequestFields, limits: Limits, greedy: bool) -> int:
    """Return how many sequences the request has: those asked for, or all beams."""
    beams = fields.beam_width
    sequences = beams if fields.num_return_sequences is None else fields.num_return_sequences
    if sequences > 1 and beams == 1 and greedy:
        raise RequestError(
            "num_return_sequences",
            f"got {sequences}, which would all be the same: send temperature or beam_width with it",
        )
    most = beams if beams > 1 else limits.max_batch_size
    if sequences > most:
        limit = "beam_width" if beams > 1 else "the engine's max_batch_size"
        raise RequestError("num_return_sequences", f"got {sequences}, must be at most {most}, {limit}")
    return sequences
