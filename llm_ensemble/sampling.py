# SPDX-License-Identifier: Apache-2.0
"""How the next token is chosen, and how many sequences come of it."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from llm_ensemble.errors import RequestError
from llm_ensemble.fields import Fields, one_of
from llm_ensemble.manifest import Limits, RequestDefaults

# A lower temperature is 0 in effect, and a logit divided by it may overflow FP32: at 1e-45 OpenVINO drew
# from all tokens alike (seen).
COLDEST = 1e-6
CHOOSING = ("temperature", "top_p", "top_k", "min_p")


class Sampling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request's sampling, complete: no value is left for an engine to guess.

    max_tokens, min_tokens: tokens to generate, at most and at least. end_ids: tokens that end the text,
    none of them before min_tokens. pad_id: what an engine that pads pads with; none shows in the text.
    greedy: the most probable token each time; the next five are then without effect.
    temperature: divides the logits, above 0. top_p: probability mass kept, above 0 and at most 1.
    min_p: tokens kept have at least this part of the best one's probability, below 1. top_k: tokens kept,
    0 for all. seed: unsigned 64-bit; same seed, same text on one engine.
    repetition_penalty: divides (multiplies, if negative) the logits of tokens seen, prompt included.
    presence_penalty, frequency_penalty: taken from the logits of generated tokens, once or each time.
    beam_width: beams searched, 1 for no search. length_penalty: a beam's score is its log probability
    over its length to this power. num_return_sequences: how many sequences the request gives.
    bad_words: id sequences that must not be generated. log_probs: whether tokens come with theirs.
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
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    beam_width: int = 1
    length_penalty: float = 1.0
    num_return_sequences: int = 1
    bad_words: list[list[int]] = []
    log_probs: bool = False

    @property
    def width(self) -> int:
        """Sequences the engine computes at a time for this request."""
        return max(self.beam_width, self.num_return_sequences)


def read_sampling(
    fields: Fields, max_tokens: int, limits: Limits, defaults: RequestDefaults, vocabulary: int
) -> Sampling:
    """One request's sampling from its checked fields; bad_words, which need a tokenizer, are left out.

    Raises RequestError for values that do not fit the engine's limits or each other.
    """
    name, min_tokens = one_of(fields, "min_tokens", "min_length", 0)
    if min_tokens > max_tokens:
        raise RequestError(name, f"got {min_tokens}, must be at most max_tokens, which is {max_tokens} here")
    chosen = _choosing(fields)
    penalties = {
        name: fields[name]
        for name in ("repetition_penalty", "presence_penalty", "frequency_penalty")
        if name in fields
    }
    return Sampling(
        max_tokens=max_tokens,
        min_tokens=min_tokens,
        end_ids=_end_ids(fields, defaults, vocabulary),
        pad_id=_token_id(fields, "pad_id", defaults.pad_id, vocabulary),
        log_probs=fields.get("return_log_probs", False),
        **chosen,
        **penalties,
        **_sequences(fields, limits, greedy="seed" not in chosen),
    )


def _choosing(fields: Fields) -> dict[str, Any]:
    """Greedy unless a sampling field is there; four of their values say greedy in other words.

    Without a seed each request draws its own: engines would otherwise repeat themselves.
    """
    _, seed = one_of(fields, "seed", "random_seed", None)
    asked = {name: fields[name] for name in CHOOSING if name in fields}
    greedy = {"top_p": 0, "top_k": 1, "min_p": 1}
    cold = asked.get("temperature", 1) < COLDEST
    if not asked or cold or any(asked.get(name) == value for name, value in greedy.items()):
        return {}
    return {"greedy": False, "seed": random.getrandbits(64) if seed is None else seed, **asked}


def _end_ids(fields: Fields, defaults: RequestDefaults, vocabulary: int) -> list[int]:
    """What ends the text; end_id -1 is TensorRT-LLM's word for nothing does."""
    end_id = _token_id(fields, "end_id", None, vocabulary)
    if fields.get("ignore_eos") or end_id == -1:
        return []
    return defaults.end_ids if end_id is None else [end_id]


def _token_id(fields: Fields, name: str, default: int | None, vocabulary: int) -> int | None:
    if name not in fields:
        return default
    value: int = fields[name]
    if value >= vocabulary:
        raise RequestError(name, f"got {value}, must be at most {vocabulary - 1}, the last of the vocabulary")
    return value


def _sequences(fields: Fields, limits: Limits, greedy: bool) -> dict[str, Any]:
    """Beams and returned sequences; a beam search returns all its beams unless fewer are asked for."""
    width: int = fields.get("beam_width", 1)
    if width > limits.max_beam_width:
        raise RequestError(
            "beam_width",
            f"got {width}, at most {limits.max_beam_width} with this engine (its max_beam_width)",
        )
    length_penalty = fields.get("length_penalty", 1.0)
    if length_penalty != 1 and width == 1:
        raise RequestError("length_penalty", "chooses among beams; send a beam_width above 1 with it")
    returned: int = fields.get("num_return_sequences", width)
    if returned > 1 and width == 1 and greedy:
        raise RequestError(
            "num_return_sequences",
            f"got {returned}, which would all be the same: send temperature or beam_width with it",
        )
    most = width if width > 1 else limits.max_batch_size
    if returned > most:
        limit = "beam_width" if width > 1 else "the engine's max_batch_size"
        raise RequestError("num_return_sequences", f"got {returned}, must be at most {most}, {limit}")
    return {"beam_width": width, "num_return_sequences": returned, "length_penalty": length_penalty}
