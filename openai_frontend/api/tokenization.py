# SPDX-License-Identifier: Apache-2.0
"""POST /tokenize and /detokenize, as vLLM has them, by the code that the ensemble itself uses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Request
from pydantic import Field

from llm_ensemble.contract.fields import INT32_MAX
from llm_ensemble.contract.request_fields import RequestFields
from llm_ensemble.errors import RequestError
from llm_ensemble.preprocessing.prompt_text import prompt_text, special_tokens
from llm_ensemble.preprocessing.special_tokens import PromptTokenizer
from openai_frontend.api.answers import DetokenizeAnswer, TokenizeAnswer
from openai_frontend.api.chat import Messages, as_served
from openai_frontend.api.field_types import Switch
from openai_frontend.api.reading import Body, read_body
from openai_frontend.api.schema import described
from openai_frontend.api.tool_fields import ToolList
from openai_frontend.errors import ApiError, refusal
from openai_frontend.served_model import ServedModel

T = TypeVar("T")


class TokenizeBody(Body):
    """A prompt, or messages."""

    model: str | None = None
    prompt: str | None = None
    messages: Messages | None = None
    tools: Annotated[Any, ToolList()] = []
    add_special_tokens: Annotated[Any, Switch()] = None
    add_generation_prompt: Annotated[Any, Switch()] = None
    continue_final_message: Annotated[Any, Switch()] = None
    return_token_strs: Annotated[Any, Switch()] = None


class DetokenizeBody(Body):
    """Token ids."""

    model: str | None = None
    tokens: list[Annotated[int, Field(ge=0, le=INT32_MAX)]]


def tokenization_routes(model: ServedModel) -> APIRouter:
    """Return the routes."""
    router = APIRouter()
    prompts = PromptTokenizer(model.tokenizer)

    @router.post("/tokenize", **described(TokenizeAnswer, 404, body=TokenizeBody))
    async def tokenize(request: Request) -> dict[str, Any]:
        """Return a prompt's tokens, as it would be served."""
        body = await read_body(request, TokenizeBody)
        if body.model is not None:
            model.check_name(body.model)
        ids = await _aside(lambda: _ids(body))
        return {
            "count": len(ids),
            "max_model_len": model.limits.max_seq_len,
            "tokens": ids,
            "token_strs": [*map(model.tokenizer.id_to_token, ids)] if body.return_token_strs else None,
        }

    @router.post("/detokenize", **described(DetokenizeAnswer, 404, body=DetokenizeBody))
    async def detokenize(request: Request) -> dict[str, Any]:
        """Return the text of tokens, special ones too."""
        body = await read_body(request, DetokenizeBody)
        if body.model is not None:
            model.check_name(body.model)
        for number, token in enumerate(body.tokens):
            if model.tokenizer.id_to_token(token) is None:
                raise refusal("tokens", f"item {number} is {token}, which the vocabulary does not have")
        text = await _aside(lambda: model.tokenizer.decode(body.tokens, skip_special_tokens=False))
        return {"prompt": text}

    def _ids(body: TokenizeBody) -> list[int]:
        messages = None if body.messages is None else json.dumps([*map(as_served, body.messages)])
        fields = RequestFields(
            text_input=body.prompt,
            messages=messages,
            tools=json.dumps(body.tools),
            add_special_tokens=body.add_special_tokens,
            add_generation_prompt=body.add_generation_prompt,
            continue_final_message=bool(body.continue_final_message),
        )
        (ids,) = prompts.encode([prompt_text(fields, model.chat)], [special_tokens(fields)])
        return ids

    return router


async def _aside(work: Callable[[], T]) -> T:
    """Return what a function returns, run beside the loop: a long text takes long. Raise ApiError."""
    try:
        return await asyncio.to_thread(work)
    except RequestError as error:
        field = "prompt" if error.field == "text_input" else error.field
        raise ApiError(400, field + str(error).removeprefix(error.field), param=field) from error
