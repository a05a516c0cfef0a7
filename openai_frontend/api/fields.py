# SPDX-License-Identifier: Apache-2.0
"""The fields that both of OpenAI's calls have, ours beside them, and what each is in the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from openai_frontend.api.field_types import Biases, Kept, Number, Refused, Switch, Whole, Words
from openai_frontend.api.formats import GuidedBody
from openai_frontend.api.reading import Body
from openai_frontend.errors import refusal

# What the contract calls otherwise, where both calls have the same name for it.
NAMES: Mapping[str, str] = {
    "text_input": "prompt",
    "input_ids": "prompt",
    "num_return_sequences": "n",
    "stop_words": "stop",
    "return_log_probs": "logprobs",
}
OF_CONTRACT = {name: field for field, name in NAMES.items() if name in ("n", "stop")}
# Sent to the ensemble as they are, if they were sent.
SAME = (
    *("temperature", "top_p", "presence_penalty", "frequency_penalty", "top_k", "min_p", "min_tokens"),
    *("repetition_penalty", "length_penalty", "beam_width", "bad_words", "end_id", "ignore_eos"),
    *("deadline_ms", "add_special_tokens", "n", "stop", "logit_bias"),
)
DEFAULT_TEMPERATURE = 1.0  # OpenAI's; without any the ensemble is greedy
UNSIGNED = 2**64


class StreamOptions(Body):
    """What a stream has beside its text."""

    include_usage: Annotated[Any, Switch()] = Field(
        None, description="Whether an event with the usage comes last."
    )
    include_obfuscation: Annotated[Any, Refused("no event is padded to hide its length", False)] = None


class SamplingBody(GuidedBody):
    """What both calls have."""

    model: str = Field(description="A name that /v1/models lists.")
    stream: Annotated[Any, Switch()] = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[Any, Number("temperature")] = Field(
        None, description="1 unless sent; 0 is greedy."
    )
    top_p: Annotated[Any, Number("top_p")] = None
    n: Annotated[Any, Number("num_return_sequences")] = None
    stop: Annotated[Any, Words("stop_words")] = []
    seed: Annotated[Any, Whole(-(2**63), UNSIGNED - 1)] = None
    presence_penalty: Annotated[Any, Number("presence_penalty")] = None
    frequency_penalty: Annotated[Any, Number("frequency_penalty")] = None
    logit_bias: Annotated[Any, Biases()] = Field(
        {}, description="Added to the logits of these token ids, which /tokenize tells."
    )
    user: Annotated[Any, Kept()] = None
    # What OpenAI's API does not have: extra_body of its clients.
    top_k: Annotated[Any, Number("top_k")] = None
    min_p: Annotated[Any, Number("min_p")] = None
    min_tokens: Annotated[Any, Number("min_tokens")] = None
    repetition_penalty: Annotated[Any, Number("repetition_penalty")] = None
    length_penalty: Annotated[Any, Number("length_penalty")] = None
    beam_width: Annotated[Any, Number("beam_width")] = None
    bad_words: Annotated[Any, Words("bad_words")] = []
    end_id: Annotated[Any, Number("end_id")] = None
    ignore_eos: Annotated[Any, Switch()] = None
    add_special_tokens: Annotated[Any, Switch()] = None
    deadline_ms: Annotated[Any, Number("deadline_ms")] = None

    @property
    def is_streamed(self) -> bool:
        """Whether the answer comes as events."""
        return bool(self.stream)

    @property
    def has_usage_event(self) -> bool:
        """Whether a stream's last event has the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self) -> dict[str, Any]:
        """Return the contract's fields, without the prompt and max_tokens. Raise ApiError."""
        if self.stream_options and not self.is_streamed:
            raise refusal("stream_options", "belongs to a stream; leave it out, or send stream: true with it")
        sent = {OF_CONTRACT.get(name, name): getattr(self, name) for name in SAME}
        fields = {name: value for name, value in sent.items() if value not in (None, [], {})}
        if self.seed is not None:
            fields["seed"] = self.seed % UNSIGNED
        if self.temperature is None and fields.get("beam_width", 1) == 1:
            fields["temperature"] = DEFAULT_TEMPERATURE
        return fields


def log_prob_fields(top: int | None) -> dict[str, Any]:
    """Return the fields of log probabilities. top: of so many tokens beside each; None for none of them."""
    if top is None:
        return {}
    return {"return_log_probs": True, **({"top_log_probs": top} if top else {})}
