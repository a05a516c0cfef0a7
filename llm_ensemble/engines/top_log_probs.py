# SPDX-License-Identifier: Apache-2.0
"""Log probabilities of chosen tokens and of the most probable ones, from what an engine's library gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def chosen_and_top(
    places: Iterable[tuple[int, Mapping[int, Any]]], top: int
) -> tuple[list[float], list[int], list[float]]:
    """Return log_probs, top_ids and top_log_probs of Tokens. Raise LookupError for one that is missing.

    places: each chosen id with what the library knows at its place: objects with a `logprob`, by id, the
    chosen one's among them; so there may be one more than asked for. top: how many are asked for.
    """
    log_probs: list[float] = []
    top_ids: list[int] = []
    top_log_probs: list[float] = []
    for token_id, known in places:
        log_probs.append(known[token_id].logprob)
        if not top:
            continue
        best = sorted(known.items(), key=lambda item: -item[1].logprob)[:top]
        if len(best) < top:
            raise LookupError(f"{len(best)} log probabilities, not {top}")
        top_ids += [one for one, _ in best]
        top_log_probs += [score.logprob for _, score in best]
    return log_probs, top_ids, top_log_probs
