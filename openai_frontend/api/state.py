# SPDX-License-Identifier: Apache-2.0
"""GET /health and /version."""

from __future__ import annotations

import asyncio
import importlib.metadata
from typing import Any

from fastapi import APIRouter, Response

from llm_ensemble_client import AsyncClient, ClientError
from openai_frontend.api.answers import Content, VersionAnswer
from openai_frontend.api.schema import described
from openai_frontend.errors import SERVER, ApiError

HEALTH_SECONDS = 5.0
PACKAGE = "llm-ensemble"
HEALTH: dict[int | str, Any] = {
    200: {"description": "Good", "content": {}},
    503: described(Content, 503)["responses"][503],
}


def state_routes(client: AsyncClient) -> APIRouter:
    """Return the routes."""
    router = APIRouter()

    @router.get("/health", responses=HEALTH, response_model=None)
    async def health() -> Response:
        """Return 200 if the model can be asked, 503 if not."""
        try:
            status = await asyncio.wait_for(client.status(), HEALTH_SECONDS)
        except (ClientError, asyncio.TimeoutError) as error:
            raise _unhealthy("cannot be reached") from error
        if not status.ready:
            raise _unhealthy("is not ready")
        return Response()

    @router.get("/version", **described(VersionAnswer))
    async def version() -> dict[str, str]:
        """Return the version of this software."""
        return {"version": importlib.metadata.version(PACKAGE)}

    return router


def _unhealthy(problem: str) -> ApiError:
    return ApiError(503, f"the model's server {problem}", kind=SERVER, code="unavailable")
