# SPDX-License-Identifier: Apache-2.0
"""POST /v1/chat/completions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from llm_ensemble.contract.tools import Tools
from openai_frontend.api.field_types import Kept, Number, Refused, Switch, Whole, shown
from openai_frontend.api.fields import NAMES, SamplingBody, log_prob_fields
from openai_frontend.api.tool_fields import CALL, ToolChoice, ToolList, tool_fields, tools_of
from openai_frontend.errors import refusal
from openai_frontend.generation.asking import ALL_THAT_FITS, Asked
from openai_frontend.parsers.choice import is_open

NO_FUNCTIONS = "an older form of tools; send tools and tool_choice"
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
    "required": ["role"],
    "properties": {
        "role": {"type": "string"},
        "content": {
            "anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": PART}, {"type": "null"}],
            "description": "Null, or left out, beside tool_calls alone.",
        },
        "name": {"type": ["string", "null"]},
        "tool_calls": {"type": ["array", "null"], "items": CALL},
        "tool_call_id": {"type": ["string", "null"]},
        "reasoning_content": {"description": "What templates that read it want."},
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
    tools: Annotated[Any, ToolList()] = []
    tool_choice: Annotated[Any, ToolChoice()] = ""
    parallel_tool_calls: Annotated[Any, Switch()] = Field(
        None, description="With false an answer has one call at most."
    )
    functions: Annotated[Any, Refused(NO_FUNCTIONS, [])] = None
    function_call: Annotated[Any, Refused(NO_FUNCTIONS, "none", "auto")] = None
    reasoning_effort: Annotated[
        Any, Refused("how long a model reasons is its template's decision", "none")
    ] = None
    verbosity: Annotated[Any, Refused("ask for it in a message", "medium")] = None
    prediction: Annotated[Any, Refused("predicted outputs are not served")] = None
    moderation: Annotated[Any, Refused("nothing is moderated")] = None
    web_search_options: Annotated[Any, Refused("nothing is searched")] = None

    def tools_asked(self) -> Tools | None:
        """Return the tools, None for none. Raise ApiError."""
        return tools_of(self.tools, self.tool_choice, self.parallel_tool_calls is not False)

    @property
    def is_open(self) -> bool | None:
        """Whether the answer begins within reasoning; None: as after the template's generation prompt."""
        if self.continue_final_message:
            content = self.messages[-1].get("content") if self.messages else None
            return isinstance(content, str) and is_open(content)
        return False if self.add_generation_prompt is False else None

    def asked(self, tools: Tools | None = None) -> Asked:
        """Return what is asked of the ensemble. tools: those of the request. Raise ApiError."""
        if self.top_logprobs is not None and not self.logprobs:
            raise refusal("top_logprobs", "belongs to logprobs; send logprobs: true with it")
        messages = [as_served(message) for message in self.messages]
        prompt: dict[str, Any] = {"messages": messages, **tool_fields(tools)}
        for name in ("add_generation_prompt", "continue_final_message"):
            if getattr(self, name) is not None:
                prompt[name] = getattr(self, name)
        guide, guide_names = self.guide()
        sampling = {
            **self.sampling(),
            **guide,
            "max_tokens": self._max_tokens(),
            **log_prob_fields((self.top_logprobs or 0) if self.logprobs else None),
        }
        limit = "max_tokens" if self.max_completion_tokens is None else "max_completion_tokens"
        names = {**NAMES, "max_tokens": limit, "top_log_probs": "top_logprobs", **guide_names}
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
