# SPDX-License-Identifier: Apache-2.0
"""The exceptions of the client. Those of grpc, http.client and aiohttp are never raised to a caller.

ClientError
├── UsageError       a wrong command line; raised by the commands only
├── InvalidRequest   a wrong field, or a field the server refuses; never retried
├── Overloaded       the server's queue is full; retried
├── ServerError      the server failed, or is no llm-ensemble server; its log says more; never retried
└── Unreachable      no connection, or a broken one; retried until text has arrived
    └── TimedOut     the call reached the client's `timeout`; never retried
"""

from __future__ import annotations


class ClientError(Exception):
    """The base class of every exception of this package."""


class UsageError(ClientError):
    """The command line is wrong in a way that argparse cannot check, such as a file that does not exist."""


class InvalidRequest(ClientError):
    """The request is invalid, and is so again when repeated.

    field: the name of the field that is wrong, "url" for the client's URL, or None if not known
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class Overloaded(ClientError):
    """The server's queue is full; the same request may succeed later."""


class ServerError(ClientError):
    """The server failed; the same request may fail again."""


class Unreachable(ClientError):
    """No connection to the server, or one that ended before the last response."""


class TimedOut(Unreachable):
    """The call, retries included, took longer than the client's timeout."""
