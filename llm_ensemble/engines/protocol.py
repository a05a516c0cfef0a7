# SPDX-License-Identifier: Apache-2.0
"""The engine protocol: token ids in, token ids out. Knows no text and no Triton."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.errors import EngineError, RequestError


@dataclass(frozen=True)
class GenerationRequest:
    """One prompt to continue.

    stream_id: given by the caller, unique among the open requests. label: for the log.
    on_scheduled: called once, when the request gets its slots in the engine's batch; must return at once.
    may_wait: whether its tokens are wanted at its end alone; an engine may then deliver them a little later.
    """

    stream_id: int
    input_ids: list[int]
    sampling: Sampling
    label: str = ""
    on_scheduled: Callable[[], None] = lambda: None
    may_wait: bool = False


class Tokens(msgspec.Struct, frozen=True):  # one a token: a dataclass would take three times as long to make
    """The new tokens of one sequence of a request, as one step of the engine generated them.

    token_ids: without the end token. finish: "" until the last tokens of the sequence, then "stop" or
    "length"; "cancelled" or an error ends all sequences of the request. error: a RequestError for what could
    only be found out after submit().
    index: of the sequence, 0 to num_return_sequences - 1. log_probs: one natural logarithm an id, from the
    model's own distribution (before penalties, temperature and filters), if the request asked for them.
    top_ids, top_log_probs: of the same distribution the most probable ids and their logarithms, an id's after
    another's; for each id exactly as many as the request asked for.
    """

    token_ids: list[int]
    finish: str = ""
    error: EngineError | RequestError | None = None
    index: int = 0
    log_probs: list[float] = []
    top_ids: list[int] = []
    top_log_probs: list[float] = []


@dataclass(frozen=True)
class EngineStats:
    """Sequences running and waiting; the part of the KV cache in use, 0 to 1.

    draft_tokens, accepted_draft_tokens: proposed and accepted since the start; None without speculative
    decoding, or if the engine does not tell.
    """

    running: int
    waiting: int
    kv_cache_usage: float
    draft_tokens: int | None = None
    accepted_draft_tokens: int = 0


OnTokens = Callable[[Tokens], None]


class Engine(Protocol):
    """A loaded engine. Thread-safe; on_tokens is called from any thread, one call at a time a request."""

    def submit(self, request: GenerationRequest, on_tokens: OnTokens) -> None:
        """Queue a request; on_tokens is called until every sequence has ended, and not after.

        Raises RequestError for a field that the engine does not support, Overloaded if no more may wait,
        EngineError if the engine is closed or dead.
        """

    def abort(self, stream_id: int) -> None:
        """End a request early, with finish "cancelled"; no-op if it is unknown or has ended."""

    @property
    def failed(self) -> bool:
        """Whether the engine is dead: it has ended every open request and accepts no more."""

    def stats(self) -> EngineStats:
        """Return the load without waiting for a step."""

    def close(self) -> None:
        """End every open request and free the engine. Safe to call twice."""
