# SPDX-License-Identifier: Apache-2.0
"""POST /v1/chat/completions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from openai_frontend.api.field_types import Kept, Number, Refused, Switch, Whole, shown
from openai_frontend.api.fields import NAMES, SamplingBody, log_prob_fields
from openai_frontend.errors import refusal
from openai_frontend.generation.asking import ALL_THAT_FITS, Asked

NO_TOOLS = "tools are not served; describe them in a message and read the answer"
NO_FORMAT = "only text is served; ask for the format in a message and check the answer"
NO_SOUND = "only text is served; leave it out"
NO_HINT = "it has no effect here; leave it out"
MOST_LIKELY = 20
# What every template needs. The contract checks it, so that one message says what is wrong, asked either way.
PART = {
    "type": "object",
    "required": ["type", "text"],
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "additionalProperties": False,
}
MESSAGE = {
    "type": "object",
    "required": ["role", "content"],
    "properties": {
        "role": {"type": "string"},
        "content": {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": PART}]},
        "name": {"type": ["string", "null"]},
    },
}
Messages = Annotated[list[dict[str, Any]], Field(json_schema_extra={"minItems": 1, "items": MESSAGE})]


class ChatBody(SamplingBody):
    """A conversation, and how it goes on."""

    messages: Messages = Field(
        description="The conversation. What roles and keys there are is the chat template's decision."
    )
    max_completion_tokens: Annotated[Any, Number("max_tokens", low=1)] = None
    max_tokens: Annotated[Any, Number("max_tokens", low=1)] = Field(
        None, description="Older name of max_completion_tokens."
    )
    logprobs: Annotated[Any, Switch()] = None
    top_logprobs: Annotated[Any, Whole(0, MOST_LIKELY)] = None
    add_generation_prompt: Annotated[Any, Switch()] = None
    continue_final_message: Annotated[Any, Switch()] = None
    metadata: Annotated[Any, Kept(is_object=True)] = None
    safety_identifier: Annotated[Any, Kept()] = None
    prompt_cache_key: Annotated[Any, Kept()] = None
    prompt_cache_retention: Annotated[Any, Refused("what is cached is kept in memory", "in_memory")] = None
    prompt_cache_options: Annotated[Any, Refused(NO_HINT, {})] = None
    store: Annotated[Any, Refused("no answer is stored", False)] = None
    service_tier: Annotated[Any, Refused("there is one tier", "auto", "default")] = None
    modalities: Annotated[Any, Refused(NO_SOUND, ["text"])] = None
    audio: Annotated[Any, Refused(NO_SOUND)] = None
    response_format: Annotated[Any, Refused(NO_FORMAT, {"type": "text"})] = None
    tools: Annotated[Any, Refused(NO_TOOLS, [])] = None
    tool_choice: Annotated[Any, Refused(NO_TOOLS, "none", "auto")] = None
    parallel_tool_calls: Annotated[Any, Switch()] = Field(
        None, description="Without effect: there are no tools."
    )
    functions: Annotated[Any, Refused(NO_TOOLS, [])] = None
    function_call: Annotated[Any, Refused(NO_TOOLS, "none", "auto")] = None
    reasoning_effort: Annotated[
        Any, Refused("how long a model reasons is its template's decision", "none")
    ] = None
    verbosity: Annotated[Any, Refused("ask for it in a message", "medium")] = None
    prediction: Annotated[Any, Refused("predicted outputs are not served")] = None
    moderation: Annotated[Any, Refused("nothing is moderated")] = None
    web_search_options: Annotated[Any, Refused("nothing is searched")] = None

    def asked(self) -> Asked:
        """Return what is asked of the ensemble. Raise ApiError."""
        if self.top_logprobs is not None and not self.logprobs:
            raise refusal("top_logprobs", "belongs to logprobs; send logprobs: true with it")
        prompt: dict[str, Any] = {"messages": [as_served(message) for message in self.messages]}
        for name in ("add_generation_prompt", "continue_final_message"):
            if getattr(self, name) is not None:
                prompt[name] = getattr(self, name)
        sampling = {
            **self.sampling(),
            "max_tokens": self._max_tokens(),
            **log_prob_fields((self.top_logprobs or 0) if self.logprobs else None),
        }
        limit = "max_tokens" if self.max_completion_tokens is None else "max_completion_tokens"
        names = {**NAMES, "max_tokens": limit, "top_log_probs": "top_logprobs"}
        return Asked([prompt], sampling, names, self.is_streamed, self.has_usage_event)

    def _max_tokens(self) -> int:
        given = {limit for limit in (self.max_completion_tokens, self.max_tokens) if limit is not None}
        if len(given) > 1:
            raise refusal(
                "max_tokens",
                f"got {self.max_tokens}, but max_completion_tokens is {shown(self.max_completion_tokens)}; "
                "they are one field, send one of them",
            )
        return next(iter(given), ALL_THAT_FITS)


def as_served(message: dict[str, Any]) -> dict[str, Any]:
    """Return the message with the role that chat templates know for OpenAI's developer."""
    return {**message, "role": "system"} if message.get("role") == "developer" else message
