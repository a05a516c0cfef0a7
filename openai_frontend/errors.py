# SPDX-License-Identifier: Apache-2.0
"""Errors as OpenAI's API sends them: a status, and a body with message, type, param and code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_ensemble_client import ClientError, InvalidRequest, Overloaded, ServerError, TimedOut, Unreachable

INVALID = "invalid_request_error"
SERVER = "server_error"
RETRY_SECONDS = "1"
# OpenAI's clients repeat a request after a 5xx. One that took all of its time would take it again.
NOT_AGAIN = {"x-should-retry": "false"}
INTERNAL = "internal error; the server's log has the details"


class ApiError(Exception):
    """An error that ends a request. param: the field that is wrong. headers: of the answer."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = INVALID,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.param, self.code = status, kind, param, code
        self.headers = dict(headers or {})

    @property
    def content(self) -> dict[str, Any]:
        """The body, which is an event of a stream that ends with an error, too."""
        error = {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}
        return {"error": error}

    @property
    def body(self) -> bytes:
        """The body as JSON."""
        return msgspec.json.encode(self.content)


def refusal(param: str, problem: str) -> ApiError:
    """Return the error of a field that is wrong."""
    return ApiError(400, f"{param}: {problem}", param=param)


def unknown_model(name: str, names: tuple[str, ...]) -> ApiError:
    """Return the error of a model that is not served."""
    served = ", ".join(names)
    message = f"model: there is no {name[:200]!r} here; served is {served}"
    return ApiError(404, message, param="model", code="model_not_found")


def timed_out() -> ApiError:
    """Return the error of a request whose deadline has ended it."""
    message = "the deadline has ended the request; send a longer deadline_ms, or ask for fewer tokens"
    return ApiError(504, message, kind=SERVER, param="deadline_ms", code="timeout", headers=NOT_AGAIN)


def cancelled() -> ApiError:
    """Return the error of a request that the server has ended."""
    return ApiError(503, "the server has ended the request; it is going down", kind=SERVER, code="cancelled")


def internal() -> ApiError:
    """Return the error of what is wrong here."""
    return ApiError(500, INTERNAL, kind=SERVER)


def from_client(error: ClientError, names: Mapping[str, str]) -> ApiError:
    """Return the error that the ensemble's client has raised. names: OpenAI's, by the contract's."""
    message = str(error)
    if isinstance(error, InvalidRequest):
        field = error.field or ""
        param = names.get(field, field)
        return ApiError(400, param + message.removeprefix(field), param=param or None)
    if isinstance(error, Overloaded):
        retry = {"retry-after": RETRY_SECONDS}
        return ApiError(429, message, kind="rate_limit_error", code="rate_limit_exceeded", headers=retry)
    if isinstance(error, TimedOut):
        return timed_out()
    if isinstance(error, Unreachable):
        return ApiError(
            503, f"the model's server cannot be reached: {message}", kind=SERVER, code="unavailable"
        )
    if isinstance(error, ServerError):
        return ApiError(500, message, kind=SERVER)
    return internal()
