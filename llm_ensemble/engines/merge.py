# SPDX-License-Identifier: Apache-2.0
"""Merging of tokens that wait for a slow callback."""

from __future__ import annotations

from collections.abc import Sequence

from llm_ensemble.engines.protocol import Tokens

MAX_UNMERGED = 8  # more than these are merged, since a call of on_tokens costs far more than a token


def ends_request(tokens: Tokens) -> bool:
    """Return whether these tokens end all sequences of their request."""
    return tokens.error is not None or tokens.finish == "cancelled"


def merge_tokens(news: Sequence[Tokens]) -> Sequence[Tokens]:
    """Return a request's tokens as they are; if they are many, one Tokens a sequence, then the end of all."""
    if len(news) <= MAX_UNMERGED:
        return news
    sequences: dict[int, list[Tokens]] = {}
    for tokens in news:
        if not ends_request(tokens):
            sequences.setdefault(tokens.index, []).append(tokens)
    return [_join(parts) for parts in sequences.values()] + [one for one in news if ends_request(one)]


def _join(parts: Sequence[Tokens]) -> Tokens:
    return Tokens(
        [token_id for tokens in parts for token_id in tokens.token_ids],
        parts[-1].finish,
        index=parts[-1].index,
        log_probs=[log_prob for tokens in parts for log_prob in tokens.log_probs],
        top_ids=[token_id for tokens in parts for token_id in tokens.top_ids],
        top_log_probs=[log_prob for tokens in parts for log_prob in tokens.top_log_probs],
    )
