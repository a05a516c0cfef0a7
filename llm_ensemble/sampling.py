# SPDX-License-Identifier: Apache-2.0
"""How the next token is chosen."""

from __future__ import annotations

import msgspec


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """One request's sampling, complete: no value is left for an engine to guess.

    max_tokens: tokens to generate at most, at least 1.
    greedy: the most probable token each time; the four below are then without effect.
    temperature: divides the logits, above 0. top_p: probability mass kept, above 0 and at most 1.
    top_k: tokens kept, 0 for all. seed: unsigned 64-bit; same seed, same text on one engine.
    """

    max_tokens: int
    greedy: bool = True
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
