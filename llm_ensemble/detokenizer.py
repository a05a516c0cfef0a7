# SPDX-License-Identifier: Apache-2.0
"""Token ids to text, a piece at a time. Knows no stop strings and no Triton."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream


class Detokenizer:
    """One stream's text: the pieces joined are exactly the decode of all its ids at once.

    Special tokens are skipped. An incomplete character is held back until its last byte comes; what is
    still incomplete at the end comes out of flush, as the whole decode shows it.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._ids: list[int] = []
        self._length = 0  # characters given out
        self._holding = False

    def feed(self, token_ids: Sequence[int]) -> str:
        """Take the next ids, return the text they complete, "" when there is none."""
        self._ids += token_ids
        pieces = [self._stream.step(self._tokenizer, token_id) for token_id in token_ids]
        if pieces:
            self._holding = not pieces[-1]
        text = "".join(piece for piece in pieces if piece)
        self._length += len(text)
        return text

    def flush(self) -> str:
        """The stream is at its end: return what was held back."""
        if not self._holding:
            return ""
        self._holding = False
        text = self._tokenizer.decode(self._ids, skip_special_tokens=True)[self._length :]
        self._length += len(text)
        return text
