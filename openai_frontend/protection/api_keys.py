# SPDX-License-Identifier: Apache-2.0
"""API keys: who may ask."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from openai_frontend.protection.refusal import error_body, refuse_unread

OPEN_PATH = "/health"  # an orchestrator asks it, which has no key
# A browser that opens the page asks its user for the password of Basic.
CHALLENGES = (
    (b"www-authenticate", b"Bearer"),
    (b"www-authenticate", b'Basic realm="llm-ensemble", charset="UTF-8"'),
)
CODE = "invalid_api_key"
NO_KEY = error_body(401, "this server asks for an API key: send it as Authorization: Bearer KEY", CODE)
WRONG_KEY = error_body(401, "this API key is not one of the server's", CODE)


class ApiKeys:
    """Refuses a request without one of the keys by 401, on every path but OPEN_PATH.

    What was sent is compared with every key by digests under a secret of this process, so that the time it
    takes says nothing about a key.
    """

    def __init__(self, app: ASGIApp, keys: Iterable[str]) -> None:
        self._app = app
        self._secret = secrets.token_bytes(32)
        self._digests = [self._digest(key.encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what has a key."""
        if scope["type"] != "http" or scope["path"] == OPEN_PATH:
            await self._app(scope, receive, send)
            return
        given = sent_key(scope)
        if given is None:
            await refuse_unread(scope, receive, send, 401, NO_KEY, CHALLENGES)
        elif not self._is_known(given):
            await refuse_unread(scope, receive, send, 401, WRONG_KEY, CHALLENGES)
        else:
            await self._app(scope, receive, send)

    def _is_known(self, given: bytes) -> bool:
        digest = self._digest(given)
        matches = [hmac.compare_digest(digest, known) for known in self._digests]  # all of them, always
        return any(matches)

    def _digest(self, key: bytes) -> bytes:
        return hashlib.blake2b(key, key=self._secret).digest()


def sent_key(scope: Scope) -> bytes | None:
    """Return the key of a request's Authorization header; None if it has none that can be read."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, rest = value.strip().partition(b" ")
            rest = rest.strip()
            if scheme.lower() == b"bearer" and rest:
                return bytes(rest)
            if scheme.lower() == b"basic":
                return _password(rest)
    return None


def _password(encoded: bytes) -> bytes | None:
    try:
        _, colon, password = base64.b64decode(encoded, validate=True).partition(b":")
    except binascii.Error:
        return None
    return password if colon else None
