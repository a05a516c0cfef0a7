# SPDX-License-Identifier: Apache-2.0
"""Every error of the client. Nothing of tritonclient, grpc, http.client or aiohttp comes through.

ClientError
├── InvalidRequest   the caller's fault; `field` names what is wrong. Asking again gives it again
├── Overloaded       the server runs and holds as much as it may; was retried, if retries are on
├── ServerError      the server's fault, or a server that is none of ours; its log says more
└── Unreachable      no connection, or one that broke; was retried while no text had come
    └── TimedOut     no answer within the client's `timeout`; never retried
"""

from __future__ import annotations


class ClientError(Exception):
    """The root: catch it to catch everything this package raises on purpose."""


class InvalidRequest(ClientError):
    """The request cannot be served as it is; `field` is the contract's name for what is wrong, or None."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class Overloaded(ClientError):
    """The server has no room now; the same request may succeed a moment later."""


class ServerError(ClientError):
    """The server failed; the same request may fail again."""


class Unreachable(ClientError):
    """Nobody answers there, or the connection ended before the text did."""


class TimedOut(Unreachable):
    """The whole call, retries included, took longer than its timeout."""
