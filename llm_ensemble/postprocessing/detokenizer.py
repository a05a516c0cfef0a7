# SPDX-License-Identifier: Apache-2.0
"""Token ids to text, a piece at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from tokenizers import Tokenizer

from llm_ensemble.postprocessing.incremental_decoders import IncrementalDecoder, decoders_of


class Detokenizer:
    """The text of one sequence: the pieces joined are exactly the decode of all its ids at once.

    Special tokens are skipped unless wanted, and so are ids that the tokenizer has no token for: models pad
    their vocabularies. A piece is whatever no later token can change, no more: an incomplete character is
    held back until its last byte comes; what is still incomplete at the end comes out of flush, as the whole
    decode shows it. With a decoder that may change any of its text until the end (incremental_decoders.py),
    all of it comes out of flush.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool = True) -> None:
        self._id_to_token = tokenizer.id_to_token
        special, makers = _prepared(tokenizer)
        self._skipped = special if skip_special_tokens else frozenset()
        self._decoders = [make() for make in makers]

    def feed(self, token_ids: Sequence[int]) -> str:
        """Add token ids; return the text that they complete, "" if none."""
        named = map(self._id_to_token, token_ids)
        texts = [token for token in named if token is not None and token not in self._skipped]
        for decoder in self._decoders:
            texts = decoder.feed(texts)
        return "".join(texts)

    def flush(self) -> str:
        """Return what was held back, at the end of the stream."""
        texts: list[str] = []
        for decoder in self._decoders:
            texts = decoder.feed(texts) + decoder.flush()
        return "".join(texts)


@lru_cache(maxsize=4)
def _prepared(tokenizer: Tokenizer) -> tuple[frozenset[str], list[Callable[[], IncrementalDecoder]]]:
    """Return what the streams of one tokenizer share. A tokenizer that was changed must be loaded again."""
    added = tokenizer.get_added_tokens_decoder().values()
    return frozenset(token.content for token in added if token.special), decoders_of(tokenizer.decoder)
