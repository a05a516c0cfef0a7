# SPDX-License-Identifier: Apache-2.0
"""What several commands do with an answer."""

from __future__ import annotations

from client.blocking import Stream
from client.errors import ServerError
from client.response import Completion


def finished(stream: Stream) -> Completion:
    """The answer of a stream that was read to its end."""
    if stream.completion is None:
        raise ServerError("the stream ended without a reason")
    return stream.completion
