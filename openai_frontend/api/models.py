# SPDX-License-Identifier: Apache-2.0
"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from openai_frontend.api.answers import ModelContent, ModelList
from openai_frontend.api.schema import described
from openai_frontend.served_model import ServedModel

OWNER = "llm-ensemble"


def model_routes(model: ServedModel) -> APIRouter:
    """Return the routes."""
    router = APIRouter()

    @router.get("/v1/models", **described(ModelList))
    async def models() -> dict[str, Any]:
        """List the names of the model that is served, and its LoRA adapters."""
        return {"object": "list", "data": [_content(name) for name in (*model.names, *model.adapters)]}

    @router.get("/v1/models/{name:path}", **described(ModelContent, 404))
    async def one_model(name: str) -> dict[str, Any]:
        """Return a model by its name."""
        model.check_name(name)
        return _content(name)

    def _content(name: str) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": model.created,
            "owned_by": OWNER,
            "max_model_len": model.limits.max_seq_len,
            "root": model.names[0],
            "parent": model.names[0] if name in model.adapters else None,
        }

    return router
