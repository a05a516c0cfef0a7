# SPDX-License-Identifier: Apache-2.0
"""The prompt of a request: input_ids or text_input as they are, or messages through the chat template."""

from __future__ import annotations

from collections.abc import Sequence

from llm_ensemble.contract.request_fields import RequestFields
from llm_ensemble.contract.tools import Tools, read_tools
from llm_ensemble.errors import RequestError
from llm_ensemble.preprocessing.chat import ChatTemplate
from llm_ensemble.preprocessing.special_tokens import Special

OF_MESSAGES = ("add_generation_prompt", "continue_final_message")  # false is neutral
OF_TEXT = ("add_special_tokens", *OF_MESSAGES)


def prompt_text(fields: RequestFields, chat: ChatTemplate | None) -> str:
    """Return the prompt. Raise RequestError if there is none, EngineError as ChatTemplate.render does.

    chat: None for a model without a chat template.
    """
    tools = read_tools(fields)
    if fields.messages is not None:
        return _rendered(fields, fields.messages, chat, tools)
    for name in OF_MESSAGES:
        if getattr(fields, name):
            raise RequestError(
                name, "belongs to messages; leave it out, or send messages instead of text_input"
            )
    if fields.text_input is None:
        raise RequestError("text_input", "missing; send the prompt, or messages")
    if not fields.text_input:
        raise RequestError("text_input", "empty; send at least one character")
    return fields.text_input


def prompt_ids(fields: RequestFields, ids: Sequence[int], vocabulary: int) -> list[int]:
    """Return the prompt that was sent as token ids. Raise RequestError for what does not go with it.

    vocabulary: ids that there are, from 0 on.
    """
    for name in ("text_input", "messages"):
        if getattr(fields, name) is not None:
            raise RequestError("input_ids", f"{name} is there too; send one of them")
    read_tools(fields)  # which raises, if there are any
    for name in OF_TEXT:
        if getattr(fields, name):
            raise RequestError(name, "changes a text before it is tokenized; leave it out with input_ids")
    if max(ids) >= vocabulary:
        raise RequestError(
            "input_ids", f"got {max(ids)}, must be at most {vocabulary - 1}, the last of the vocabulary"
        )
    return [*ids]


def special_tokens(fields: RequestFields) -> Special:
    """Return what add_special_tokens means. A chat template writes its special tokens itself."""
    if fields.add_special_tokens is not None:
        return Special.ALL if fields.add_special_tokens else Special.NONE
    return Special.ONCE if fields.messages is None else Special.NONE


def _rendered(fields: RequestFields, messages: str, chat: ChatTemplate | None, tools: Tools | None) -> str:
    if fields.text_input is not None:
        raise RequestError("messages", "text_input is there too; send one of them")
    if chat is None:
        raise RequestError("messages", "this model has no chat template; send text_input")
    continues, adds_prompt = fields.continue_final_message, fields.add_generation_prompt
    if continues and adds_prompt:
        raise RequestError(
            "continue_final_message", "add_generation_prompt is true too; one of them may be true"
        )
    return chat.render(
        messages,
        add_generation_prompt=not continues if adds_prompt is None else adds_prompt,
        continue_final_message=continues,
        tools=tools.shown if tools else None,
    )
