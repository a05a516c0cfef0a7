# SPDX-License-Identifier: Apache-2.0
"""The application: all routes, and each error as OpenAI's API has it."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from llm_ensemble_client import AsyncClient
from openai_frontend.api.generation_routes import generation_routes
from openai_frontend.api.models import model_routes
from openai_frontend.api.schema import describe
from openai_frontend.api.state import PACKAGE, state_routes
from openai_frontend.api.tokenization import tokenization_routes
from openai_frontend.errors import ApiError, internal
from openai_frontend.request_ids import HEADER, request_id
from openai_frontend.served_model import ServedModel


def create_app(model: ServedModel, client: AsyncClient) -> FastAPI:
    """Return the application. client: of the server of that model; closed when the application shuts down."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await client.close()

    app = FastAPI(
        title="llm-ensemble",
        version=importlib.metadata.version(PACKAGE),
        lifespan=lifespan,
        redirect_slashes=False,
        redoc_url=None,
    )
    routers = (
        generation_routes(model, client),
        model_routes(model),
        tokenization_routes(model),
        state_routes(client),
    )
    for router in routers:  # not by include_router, which hides their paths from those who count by route
        app.router.routes.extend(router.routes)
    describe(app)
    app.add_exception_handler(ApiError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_routing_error)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)
    app.add_exception_handler(Exception, _answer_bug)
    return app


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    headers = {**error.headers, HEADER.decode(): request_id(request.scope)}
    return Response(error.body, error.status, headers, "application/json")


async def _answer_routing_error(request: Request, error: Exception) -> Response:
    """Answer for a route or a method that there is not."""
    assert isinstance(error, HTTPException)
    asked = f"{request.method} {request.url.path[:200]}"
    messages = {404: f"there is no {asked}", 405: f"{asked} is not allowed"}
    message = messages.get(error.status_code, str(error.detail))
    return await _answer_error(request, ApiError(error.status_code, message, headers=error.headers))


async def _answer_nobody(request: Request, error: Exception) -> Response:
    """Answer a client that left while it sent its request."""
    return Response(status_code=400)


async def _answer_bug(request: Request, error: Exception) -> Response:
    """Answer for what is wrong here; the log gets the rest."""
    return await _answer_error(request, internal())
