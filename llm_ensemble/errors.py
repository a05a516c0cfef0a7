# SPDX-License-Identifier: Apache-2.0
"""Every error of this package.

    EnsembleError
    ├── RequestError           the caller's fault: INVALID_ARG, HTTP 400; begins with the field's name
    ├── Overloaded             no room now, try again: UNAVAILABLE, HTTP 503
    ├── EngineError            ours, while serving: INTERNAL, HTTP 500; the client gets one neutral line
    ├── EngineDirectoryError   ours, before serving: the engine directory is missing, broken or not for here
    └── SettingError           the operator's, before serving: a setting is malformed

The last two are one line that says what to do.
"""

from __future__ import annotations


class EnsembleError(Exception):
    """The root: catch it to catch everything this package raises on purpose."""


class RequestError(EnsembleError):
    """A request that cannot be served as it is; `field` is the contract's name for what is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


QUEUE_FULL = "Exceeds maximum queue size"  # Triton's own words, which clients look for


class Overloaded(EnsembleError):
    """The engine runs and waits as much as it may; the same request may succeed a moment later."""

    def __init__(self, load: str) -> None:
        super().__init__(f"{QUEUE_FULL}: {load}; try again later")


class EngineError(EnsembleError):
    """The engine failed; every request it held has been ended."""


class EngineDirectoryError(EnsembleError):
    """The engine directory is missing, broken, or built for something else."""


class SettingError(EnsembleError):
    """A setting has a value that means nothing."""
