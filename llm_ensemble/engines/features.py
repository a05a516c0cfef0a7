# SPDX-License-Identifier: Apache-2.0
"""The features that an engine may lack: how a request uses each, and the refusal of those that are lacking.

Each engine kind declares what it lacks (EngineKind.lacks). The table in docs/contract.md is made of that, and
tests/engine/features/ looks for the effect of whatever an engine does not lack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.errors import RequestError

# Why an engine lacks a feature and what to do, by the name of the feature; the message to the client.
Lacks = Mapping[str, str]


class Feature(NamedTuple):
    """What an engine may lack.

    group, label: its place and its name in the table. is_used: whether a request uses it; None for what a
    setting turns on. field_of: the field that a refusal names, None for the feature's own name.
    """

    group: str
    label: str
    is_used: Callable[[Sampling], bool] | None
    field_of: Callable[[Sampling], str] | None = None


def _guided_by(kind: str, label: str) -> Feature:
    return Feature(
        "guides",
        label,
        lambda sampling: bool(sampling.guide and sampling.guide.kind == kind),
        lambda sampling: sampling.guide.field if sampling.guide else "",
    )


FEATURES: Mapping[str, Feature] = {
    "beam_width": Feature("choice of tokens", "`beam_width`", lambda sampling: sampling.beam_width > 1),
    "num_return_sequences": Feature(
        "choice of tokens", "`num_return_sequences`", lambda sampling: sampling.num_return_sequences > 1
    ),
    "min_tokens": Feature("choice of tokens", "`min_tokens`", lambda sampling: sampling.min_tokens > 0),
    "min_p": Feature("choice of tokens", "`min_p`", lambda sampling: sampling.min_p != 0),
    "seed": Feature(
        "choice of tokens",
        "`seed`",
        lambda sampling: bool(sampling.seed_field),
        lambda sampling: sampling.seed_field,
    ),
    "repetition_penalty": Feature(
        "choice of tokens", "`repetition_penalty`", lambda sampling: sampling.repetition_penalty != 1
    ),
    "presence_penalty": Feature(
        "choice of tokens", "`presence_penalty`", lambda sampling: sampling.presence_penalty != 0
    ),
    "frequency_penalty": Feature(
        "choice of tokens", "`frequency_penalty`", lambda sampling: sampling.frequency_penalty != 0
    ),
    "bad_words": Feature("choice of tokens", "`bad_words`", lambda sampling: bool(sampling.bad_words)),
    "logit_bias": Feature(
        "choice of tokens",
        "`logit_bias`, `embedding_bias_words`",
        lambda sampling: bool(sampling.logit_bias),
        lambda sampling: sampling.bias_field,
    ),
    "return_log_probs": Feature(
        "log probabilities", "`return_log_probs`", lambda sampling: sampling.log_probs
    ),
    "top_log_probs": Feature(
        "log probabilities", "`top_log_probs`", lambda sampling: sampling.top_log_probs != 0
    ),
    "guide json": _guided_by("json", "`json`"),
    "guide json_schema": _guided_by("json_schema", "`json_schema`"),
    "guide regex": _guided_by("regex", "`regex`"),
    "guide ebnf_grammar": _guided_by("ebnf_grammar", "`ebnf_grammar`"),
    "guide choice": _guided_by("choice", "`choice`"),
    "lora_name": Feature("adapters", "`lora_name`", lambda sampling: bool(sampling.lora)),
    "draft engine": Feature("speculative decoding", "a draft engine", None),
    "prompt lookup": Feature("speculative decoding", "prompt lookup", None),
}

GUIDES = tuple(name for name in FEATURES if name.startswith("guide "))


def refuse_lacking(sampling: Sampling, lacks: Lacks) -> None:
    """Raise RequestError for the first feature that a request uses and the engine lacks."""
    for name, reason in lacks.items():
        feature = FEATURES[name]
        if feature.is_used and feature.is_used(sampling):
            raise RequestError(feature.field_of(sampling) if feature.field_of else name, reason)
