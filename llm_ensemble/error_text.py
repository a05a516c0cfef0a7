# SPDX-License-Identifier: Apache-2.0
"""Errors as the text of a response, and back.

A client gets an error of a stage as a text and a status that cannot be relied on: /generate_stream responds
400 to every error. So the text decides.
errors.py writes it; this module reads it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from llm_ensemble.errors import QUEUE_FULL

# Triton's core puts this before every error of an ensemble's stage.
_ENSEMBLE = re.compile(r"^in ensemble '[^']*', ")
_FIELD = re.compile(r"^([^\s:]+): ")


@dataclass(frozen=True)
class ErrorText:
    """A parsed error text.

    message: the text without Triton's prefix. field: the field that a RequestError names, else "".
    is_overloaded: whether it has the text of Overloaded, which the message of a RequestError may quote.
    """

    message: str
    field: str = ""
    is_overloaded: bool = False


def parse_error(text: str) -> ErrorText:
    """Return the parts of an error text. An error of Triton's own has neither a field nor a kind."""
    message = _ENSEMBLE.sub("", text)
    found = _FIELD.match(message)
    return ErrorText(message, found[1] if found else "", QUEUE_FULL in message)
