# SPDX-License-Identifier: Apache-2.0
"""POST /v1/completions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from llm_ensemble.contract.fields import INT32_MAX
from openai_frontend.api.field_types import Described, Number, Refused, Switch, Whole, shown
from openai_frontend.api.fields import NAMES, SamplingBody, log_prob_fields
from openai_frontend.errors import refusal
from openai_frontend.generation.asking import Asked

DEFAULT_MAX_TOKENS = 16  # OpenAI's
MOST_LIKELY = 20
MAX_PROMPTS = 2048
NOT_A_PROMPT = "must be a string, an array of strings, of token ids, or of arrays of token ids"


@dataclass(frozen=True)
class Prompts(Described):
    """One prompt or several, as text or token ids."""

    def check(self, value: Any) -> list[dict[str, Any]]:
        """Return each prompt as a field of the contract. Raise ValueError with what is wrong."""
        if isinstance(value, str):
            return [{"prompt": value}]
        if not isinstance(value, list):
            raise ValueError(f"got {shown(value)}, {NOT_A_PROMPT}")
        if not value:
            raise ValueError(f"empty; {NOT_A_PROMPT}")
        if all(isinstance(one, str) for one in value):
            prompts = [{"prompt": one} for one in value]
        elif _are_ids(value):
            return [{"input_ids": value}]
        elif all(isinstance(one, list) and one and _are_ids(one) for one in value):
            prompts = [{"input_ids": one} for one in value]
        else:
            raise ValueError(f"got {shown(value)}, {NOT_A_PROMPT}; an id is at least 0")
        if len(prompts) > MAX_PROMPTS:
            raise ValueError(f"got {len(prompts)} prompts, at most {MAX_PROMPTS} are allowed")
        return prompts

    def schema(self) -> dict[str, Any]:
        """Return the four forms as JSON schema."""
        token = {"type": "integer", "minimum": 0, "maximum": INT32_MAX}
        ids = {"type": "array", "items": token, "minItems": 1}
        text = {"type": "string", "minLength": 1}
        several = {"type": "array", "minItems": 1, "maxItems": MAX_PROMPTS}
        return {"anyOf": [text, {**several, "items": text}, ids, {**several, "items": ids}]}


class CompletionBody(SamplingBody):
    """A text, and how it goes on."""

    prompt: Annotated[Any, Prompts()]
    max_tokens: Annotated[Any, Number("max_tokens", low=1)] = None
    echo: Annotated[Any, Switch()] = None
    logprobs: Annotated[Any, Whole(0, MOST_LIKELY)] = None
    best_of: Annotated[Any, Number("num_return_sequences")] = None
    suffix: Annotated[Any, Refused("no text is put before another; leave it out", "")] = None

    def asked(self) -> Asked:
        """Return what is asked of the ensemble. Raise ApiError."""
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise refusal("best_of", f"got {self.best_of}, must be n, {self.n or 1}: none is sorted out")
        if self.echo and self.logprobs is not None:
            raise refusal("echo", "a prompt's tokens have no log probabilities; leave out echo or logprobs")
        limit = DEFAULT_MAX_TOKENS if self.max_tokens is None else self.max_tokens
        guide, guide_names = self.guide()
        sampling = {**self.sampling(), **guide, "max_tokens": limit, **log_prob_fields(self.logprobs)}
        names = {**NAMES, "top_log_probs": "logprobs", **guide_names}
        return Asked(self.prompt, sampling, names, self.is_streamed, self.has_usage_event, bool(self.echo))


def _are_ids(values: list[Any]) -> bool:
    return all(type(one) is int and 0 <= one <= INT32_MAX for one in values)
