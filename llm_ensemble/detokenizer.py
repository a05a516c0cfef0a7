# SPDX-License-Identifier: Apache-2.0
"""Token ids to text, a piece at a time. Knows no stop strings and no Triton."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from tokenizers import Tokenizer

from llm_ensemble.decode_steps import Step, steps_of


class Detokenizer:
    """One stream's text: the pieces joined are exactly the decode of all its ids at once.

    Special tokens are skipped, and so are ids that the tokenizer has no token for: models pad their
    vocabularies. A piece is whatever no later token can change, no more: an incomplete character is held
    back until its last byte comes; what is still incomplete at the end comes out of flush, as the whole
    decode shows it. With a decoder that may change any of its text until the end (see decode_steps.py),
    all of it comes out of flush.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._id_to_token = tokenizer.id_to_token
        self._special, makers = _prepared(tokenizer)
        self._steps = [make() for make in makers]

    def feed(self, token_ids: Sequence[int]) -> str:
        """Take the next ids, return the text they complete, "" when there is none."""
        named = map(self._id_to_token, token_ids)
        texts = [token for token in named if token is not None and token not in self._special]
        for step in self._steps:
            texts = step.feed(texts)
        return "".join(texts)

    def flush(self) -> str:
        """The stream is at its end: return what was held back."""
        texts: list[str] = []
        for step in self._steps:
            texts = step.feed(texts) + step.flush()
        return "".join(texts)


@lru_cache(maxsize=4)
def _prepared(tokenizer: Tokenizer) -> tuple[frozenset[str], list[Callable[[], Step]]]:
    """What the streams of one tokenizer share. Whoever changes a tokenizer must load it anew."""
    added = tokenizer.get_added_tokens_decoder().values()
    return frozenset(token.content for token in added if token.special), steps_of(tokenizer.decoder)
