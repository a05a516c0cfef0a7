# SPDX-License-Identifier: Apache-2.0
"""CORS: the websites whose scripts may ask, by starlette's middleware."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from openai_frontend.protection.refusal import error_body

READABLE = ("x-request-id", "retry-after")  # by scripts, beside what every script may read


class CrossOrigin(CORSMiddleware):
    """Answers preflights, and adds the headers by which a browser lets scripts of these origins read."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        # Any header: OpenAI's SDK in a browser sends a dozen of its own.
        super().__init__(
            app, origins, allow_methods=("GET", "POST"), allow_headers=("*",), expose_headers=READABLE
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return starlette's response, a refusal in OpenAI's form."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        body = error_body(400, bytes(response.body).decode(), "cors")
        headers = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        return Response(body, response.status_code, headers, "application/json")
