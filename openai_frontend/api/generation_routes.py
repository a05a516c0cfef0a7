# SPDX-License-Identifier: Apache-2.0
"""The two calls that generate text, as routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from fastapi import APIRouter, Request

from llm_ensemble.contract.token_bytes import TokenBytes
from llm_ensemble_client import AsyncClient
from openai_frontend.api.answers import ChatCompletion, Content, TextCompletion
from openai_frontend.api.chat import ChatBody
from openai_frontend.api.completions import CompletionBody
from openai_frontend.api.reading import Body, read_body
from openai_frontend.api.schema import OF_A_GENERATION, described
from openai_frontend.errors import refusal
from openai_frontend.generation.answer import Answer, ChatAnswer, CompletionAnswer
from openai_frontend.generation.asking import Asked, with_adapter
from openai_frontend.generation.parsed_answer import ParsedChatAnswer
from openai_frontend.generation.replying import Reply
from openai_frontend.served_model import ServedModel
from openai_frontend.telemetry.observe import log_fields

BodyType = TypeVar("BodyType", ChatBody, CompletionBody)
MAX_USER = 64  # characters of a user's name in the log


def generation_routes(model: ServedModel, client: AsyncClient) -> APIRouter:
    """Return the routes."""
    router = APIRouter()
    bytes_of = TokenBytes(model.tokenizer)

    @router.post("/v1/chat/completions", **_described(ChatCompletion, ChatBody))
    async def chat_completions(request: Request) -> Any:
        """Answer a conversation."""
        body = await _read(request, ChatBody)
        if not model.has_chat_template:
            raise refusal("messages", "this model has no chat template; send a prompt to /v1/completions")
        tools = body.tools_asked()
        make_parser = model.parsers.parser(tools, body.is_open)
        asked = body.asked(tools)
        if make_parser is None:
            return _reply(body, asked, ChatAnswer)
        if model.parsers.needs_special_tokens(tools):
            asked = replace(asked, sampling={**asked.sampling, "skip_special_tokens": False})
        return _reply(body, asked, partial(ParsedChatAnswer, make_parser=make_parser))

    @router.post("/v1/completions", **_described(TextCompletion, CompletionBody))
    async def completions(request: Request) -> Any:
        """Continue texts."""
        body = await _read(request, CompletionBody)
        return _reply(body, body.asked(), CompletionAnswer)

    async def _read(request: Request, kind: type[BodyType]) -> BodyType:
        body = await read_body(request, kind)
        if body.user:
            log_fields(request.scope)["user"] = body.user[:MAX_USER]
        model.check_name(body.model)
        return body

    def _reply(body: ChatBody | CompletionBody, asked: Asked, kind: Callable[..., Answer]) -> Reply:
        asked = with_adapter(asked, model.adapter(body.model))
        has_top = "top_log_probs" in asked.sampling
        answer = kind(body.model, model.fingerprint, bytes_of, has_usage=asked.has_usage, has_top=has_top)
        echoes = [_text(prompt, model) if asked.echo else "" for prompt in asked.prompts]
        at_once = max(1, model.limits.max_batch_size // asked.sequences)
        return Reply(client, asked, answer, echoes, at_once)

    return router


def _text(prompt: Mapping[str, Any], model: ServedModel) -> str:
    """Return a prompt as text."""
    if "prompt" in prompt:
        return str(prompt["prompt"])
    return model.tokenizer.decode(prompt["input_ids"], skip_special_tokens=False)


def _described(answer: type[Content], body: type[Body]) -> dict[str, Any]:
    return described(answer, *OF_A_GENERATION, body=body, streams=True)
