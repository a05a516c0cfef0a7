# SPDX-License-Identifier: Apache-2.0
"""The engine step: requests in, numbered chunks out. Knows no text and no Triton."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from llm_ensemble.engines.base import Engine, GenerationRequest, Tokens
from llm_ensemble.request import Chunk, Request, TextOptions

SendChunk = Callable[[Chunk], None]

# A chunk costs the server far more than a token costs a small engine, so tokens that come faster than
# anybody can read travel together; a stream's first goes at once.
STREAM_SECONDS = 0.01
# A plain request wants one answer, but a chunk must travel now and then: it is what shows postprocessing
# a stop string or a client that has left.
GATHER_SECONDS = 0.1


class EngineStep:
    """Gives each request a number no other in this process has, and the engine's tokens to its sender."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._numbers = itertools.count(1)

    def generate(self, input_ids: list[int], request: Request, send: SendChunk) -> None:
        """Start one request; send is called with its chunks, the last has a finish or an error.

        Raises Overloaded or EngineError, without any chunk, when the engine does not take the request.
        """
        number = next(self._numbers)
        stream = Stream(number, request.text, send)
        self._engine.submit(GenerationRequest(number, input_ids, request.sampling), stream.add)

    def abort(self, number: int) -> None:
        """End a stream early; an unknown one is left alone."""
        self._engine.abort(number)

    def close(self) -> None:
        """End every open stream and free the engine."""
        self._engine.close()


class Stream:
    """One request's tokens on their way out: gathered if nobody watches, numbered, sent."""

    def __init__(self, number: int, text: TextOptions, send: SendChunk) -> None:
        self._number = number
        self._text: TextOptions | None = text
        self._send = send
        self._patience = STREAM_SECONDS if text.stream else GATHER_SECONDS
        self._sequence = 0
        self._token_ids: list[int] = []
        self._sent_at = 0.0 if text.stream else time.monotonic()

    def add(self, tokens: Tokens) -> None:
        """Take what an engine step gave; send it if it is time."""
        self._token_ids += tokens.token_ids
        if tokens.last or time.monotonic() - self._sent_at >= self._patience:
            error = str(tokens.error) if tokens.error else ""
            self._flush(tokens.finish, error)

    def _flush(self, finish: str, error: str) -> None:
        chunk = Chunk(self._number, self._sequence, self._token_ids, finish, error, self._text)
        self._token_ids, self._text = [], None
        self._sequence += 1
        self._sent_at = time.monotonic()
        self._send(chunk)
