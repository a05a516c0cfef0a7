# SPDX-License-Identifier: Apache-2.0
"""The description of the API at /openapi.json and /docs."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from openai_frontend.api.answers import Content, ErrorAnswer
from openai_frontend.api.reading import Body

PLACE = "#/components/schemas/{model}"
OF_A_BODY = (400, 413, 415)
OF_A_GENERATION = (404, 429, 500, 503, 504)
# Before OpenAPI 3.2, which has itemSchema for it, the schema of events describes each of them.
EVENT = {
    "type": "object",
    "description": "With stream: true. The data is a chunk as JSON, or an error, or at the end [DONE].",
    "required": ["data"],
    "properties": {"data": {"type": "string"}},
}
EVENTS = {"text/event-stream": {"schema": EVENT}}


def described(
    answer: type[Content], *statuses: int, body: type[Body] | None = None, streams: bool = False
) -> dict[str, Any]:
    """Return the options of a route that describe it. statuses: of errors."""
    statuses += OF_A_BODY if body else ()
    good = {"application/json": {"schema": _reference(answer)}}
    errors = {"application/json": {"schema": _reference(ErrorAnswer)}}
    responses: dict[int, Any] = {200: {"description": "Good", "content": good | (EVENTS if streams else {})}}
    responses |= {status: {"description": "Error", "content": errors} for status in sorted(statuses)}
    options: dict[str, Any] = {"response_model": None, "responses": responses}
    if body:
        content = {"application/json": {"schema": _reference(body)}}
        options["openapi_extra"] = {"requestBody": {"required": True, "content": content}}
    return options


def describe(app: FastAPI) -> None:
    """Let the application describe itself with the types that its routes name."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
            own = schema.get("components", {}).get("schemas", {})  # of routes that FastAPI describes itself
            schema["components"] = {"schemas": {**own, **_definitions()}}
            for path in schema["paths"].values():
                for route in path.values():
                    route["responses"].pop("422", None)  # FastAPI's own, which no route here answers
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation has it


def _definitions() -> dict[str, Any]:
    kinds: list[type[BaseModel]] = [*_all_below(Body), *_all_below(Content)]
    schema = models_json_schema([(kind, "validation") for kind in kinds], ref_template=PLACE)[1]
    definitions: dict[str, Any] = schema["$defs"]
    return definitions


def _all_below(kind: type[BaseModel]) -> list[type[BaseModel]]:
    return [one for below in kind.__subclasses__() for one in (below, *_all_below(below))]


def _reference(kind: type[BaseModel]) -> dict[str, str]:
    return {"$ref": PLACE.format(model=kind.__name__)}
