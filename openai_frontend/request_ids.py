# SPDX-License-Identifier: Apache-2.0
"""The id of a request: the client's X-Request-Id, or a new one. Triton's log has it, and the answer too."""

from __future__ import annotations

import re
import uuid
from collections.abc import MutableMapping
from typing import Any

HEADER = b"x-request-id"
TRACE_HEADERS = (b"traceparent", b"tracestate")
_KEY = "llm_ensemble.request_id"
_USABLE = re.compile(rb"[\x21-\x7e]{1,128}")
_USABLE_TRACE = re.compile(rb"[\x20-\x7e]{1,512}")

Scope = MutableMapping[str, Any]


def request_id(scope: Scope) -> str:
    """Return the id of an ASGI scope's request, always the same one."""
    if _KEY not in scope:
        sent = header(scope, HEADER)
        scope[_KEY] = sent.decode() if _USABLE.fullmatch(sent) else f"req-{uuid.uuid4().hex}"
    found: str = scope[_KEY]
    return found


def trace_headers(scope: Scope) -> dict[str, str]:
    """Return the headers by which a trace goes on at Triton."""
    found = {name.decode(): header(scope, name) for name in TRACE_HEADERS}
    return {name: value.decode() for name, value in found.items() if _USABLE_TRACE.fullmatch(value)}


def header(scope: Scope, name: bytes) -> bytes:
    """Return a header's value; empty if it was not sent."""
    return next((value for key, value in scope["headers"] if key == name), b"")
