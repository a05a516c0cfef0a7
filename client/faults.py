# SPDX-License-Identifier: Apache-2.0
"""From what a server says went wrong to the client's own error. Knows no transport.

Codes alone do not do: /generate_stream answers every error of a model with 400, and UNAVAILABLE is a full
queue as well as a server that is gone. So the words decide first; they are the server's contract (README,
Errors).
"""

from __future__ import annotations

import re
from enum import Enum

from client.errors import ClientError, InvalidRequest, Overloaded, ServerError, Unreachable
from llm_ensemble.errors import QUEUE_FULL
from llm_ensemble.fields import FIELDS

# Triton's core puts this before every error of an ensemble's step.
OF_A_STEP = re.compile(r"^in ensemble '[^']*', ")
FIELD = re.compile(r"^(\w+): ")


class Code(Enum):
    """What a status says, as far as it can be believed; UNKNOWN where it says the same of everything."""

    INVALID = "invalid"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"
    UNKNOWN = "unknown"


def fault(message: str, code: Code = Code.UNKNOWN) -> ClientError:
    """The error that a server's message stands for."""
    message = OF_A_STEP.sub("", message)
    if QUEUE_FULL in message:
        return Overloaded(message)
    if code is Code.INTERNAL:
        return ServerError(message)
    field = FIELD.match(message)
    if field and (field[1] in FIELDS or "unknown field" in message):
        return InvalidRequest(message, field[1])
    kinds: dict[Code, type[ClientError]] = {
        Code.INVALID: InvalidRequest,
        Code.UNAVAILABLE: Unreachable,
        Code.UNKNOWN: ServerError,
    }
    return kinds[code](message)
