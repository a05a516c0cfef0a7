# SPDX-License-Identifier: Apache-2.0
"""Maps error texts and status codes of a server to the client's exceptions, for every transport.

A status code alone is ambiguous: /generate_stream responds 400 to every error of a model, and UNAVAILABLE is
both a full queue and a server that is gone. So the text decides first; it is part of the server's contract.
"""

from __future__ import annotations

from enum import Enum

from llm_ensemble.contract.fields import FIELDS
from llm_ensemble.error_text import parse_error
from llm_ensemble_client.errors import ClientError, InvalidRequest, Overloaded, ServerError, Unreachable


class Code(Enum):
    """The class of a status code; UNKNOWN for one that the server uses for every error."""

    INVALID = "invalid"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"
    UNKNOWN = "unknown"


def error_from_message(message: str, code: Code = Code.UNKNOWN) -> ClientError:
    """Return the exception for an error text and the class of its status code."""
    parsed = parse_error(message)
    if parsed.is_overloaded:
        return Overloaded(parsed.message)
    if code is Code.INTERNAL:
        return ServerError(parsed.message)
    if parsed.field and (parsed.field in FIELDS or "unknown field" in parsed.message):
        return InvalidRequest(parsed.message, parsed.field)
    kinds: dict[Code, type[ClientError]] = {
        Code.INVALID: InvalidRequest,
        Code.UNAVAILABLE: Unreachable,
        Code.UNKNOWN: ServerError,
    }
    return kinds[code](parsed.message)
