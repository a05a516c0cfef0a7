# SPDX-License-Identifier: Apache-2.0
"""The errors of this package.

    EnsembleError
    ├── RequestError           the request is invalid: INVALID_ARG, HTTP 400; begins with the field's name
    ├── Overloaded             the queue is full: UNAVAILABLE, HTTP 503
    ├── EngineError            the server failed: INTERNAL, HTTP 500; the client gets one neutral line
    ├── EngineDirectoryError   before serving: the engine directory is missing, broken or not for here
    └── SettingError           before serving: a setting is malformed

The last two are one line that says what to do.
"""

from __future__ import annotations


class EnsembleError(Exception):
    """The base of every error that this package raises deliberately."""


class RequestError(EnsembleError):
    """An invalid request; `field` is the contract's name for what is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field, self.problem = field, problem


QUEUE_FULL = "Exceeds maximum queue size"  # Triton's own words, which clients look for
INTERNAL_ERROR = (
    "internal error; the server's log has the details"  # all that a client gets of an EngineError
)


class Overloaded(EnsembleError):
    """The queue is full; the same request may succeed later."""

    def __init__(self, load: str) -> None:
        super().__init__(f"{QUEUE_FULL}: {load}; try again later")
        self.load = load


class EngineError(EnsembleError):
    """The engine failed; every open request has ended."""


class EngineDirectoryError(EnsembleError):
    """The engine directory is missing, broken, or built for something else."""


class SettingError(EnsembleError):
    """A setting is malformed, or has no effect."""
