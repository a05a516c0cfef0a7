# SPDX-License-Identifier: Apache-2.0
"""What the routes answer, for the description of the API. The answers themselves are written as JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Finish = Literal["stop", "length"]
ChatFinish = Literal["stop", "length", "tool_calls"]


class Content(BaseModel):
    """The base of all answers: each key is there, and no other."""

    model_config = ConfigDict(extra="forbid")


class ErrorDetail(Content):
    """What is wrong. param: the field."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(Content):
    """Any answer but a good one."""

    error: ErrorDetail


class UsageContent(Content):
    """Tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TopToken(Content):
    """A token that was likely."""

    token: str
    logprob: float
    bytes: list[int]


class ChatToken(TopToken):
    """A token of a chat's answer."""

    top_logprobs: list[TopToken]


class ChatLogProbs(Content):
    """The tokens of a chat's answer."""

    content: list[ChatToken]
    refusal: None


class CalledFunction(Content):
    """What is called. arguments: JSON as the model wrote it."""

    name: str
    arguments: str


class ToolCall(Content):
    """One call of a tool."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class ChatMessage(Content):
    """The assistant's message. Its last two keys are there if they say something."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning_content: str = ""
    tool_calls: list[ToolCall] = []


class ChatChoice(Content):
    """One of a chat's answers."""

    index: int
    message: ChatMessage
    logprobs: ChatLogProbs | None
    finish_reason: ChatFinish


class Head(Content):
    """What both calls answer first."""

    id: str
    created: int
    model: str
    system_fingerprint: str


class ChatCompletion(Head):
    """The answer of /v1/chat/completions."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: UsageContent


class TextLogProbs(Content):
    """The tokens of a completion."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


class TextChoice(Content):
    """One completion."""

    index: int
    text: str
    logprobs: TextLogProbs | None
    finish_reason: Finish


class TextCompletion(Head):
    """The answer of /v1/completions."""

    object: Literal["text_completion"]
    choices: list[TextChoice]
    usage: UsageContent


class ModelContent(Content):
    """A name of the model that is served, or an adapter. root: the model. parent: an adapter's model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int
    root: str
    parent: str | None


class ModelList(Content):
    """All of its names, and its adapters."""

    object: Literal["list"]
    data: list[ModelContent]


class TokenizeAnswer(Content):
    """A prompt's tokens."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class DetokenizeAnswer(Content):
    """The text of tokens."""

    prompt: str


class VersionAnswer(Content):
    """The version of this software."""

    version: str
