# SPDX-License-Identifier: Apache-2.0
"""What one token stands for, as bytes: a character may be several tokens, each with some of its bytes."""

from __future__ import annotations

import json
from functools import lru_cache

from tokenizers import Tokenizer

from llm_ensemble.postprocessing.incremental_decoders import fallback_byte, level_bytes

KEPT = 100_000  # tokens whose bytes are remembered


class TokenBytes:
    """The bytes of a tokenizer's tokens, within a text; of special tokens, too, though these are no text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self._added = {token.content for token in added.values()}
        self._special = {number for number, token in added.items() if token.special}
        self._kinds = _kinds(tokenizer)
        self.of = lru_cache(KEPT)(self._read)

    def of_text(self, token_id: int) -> bytes:
        """Return what a token adds to the text."""
        return b"" if token_id in self._special else self.of(token_id)

    def _read(self, token_id: int) -> bytes:
        """Return the bytes of a token; none for an id that has no token."""
        token = self._tokenizer.id_to_token(token_id)
        if token is None:
            return b""
        if token in self._added:
            return token.encode()
        if "ByteLevel" in self._kinds:
            return level_bytes(token)
        byte = fallback_byte(token) if "ByteFallback" in self._kinds else None
        return _within(self._tokenizer, token).encode() if byte is None else byte


def _within(tokenizer: Tokenizer, token: str) -> str:
    """Return the text of a token that is not the first."""
    if tokenizer.decoder is None:
        return f" {token}"
    alone: str = tokenizer.decoder.decode([token])
    twice: str = tokenizer.decoder.decode([token, token])
    return twice[len(alone) :]


def _kinds(tokenizer: Tokenizer) -> set[str]:
    """Return the types of the decoder's parts."""
    try:
        state = json.loads(tokenizer.decoder.__getstate__())
    except Exception:  # there is none, or one written in Python
        return set()
    return {part["type"] for part in state.get("decoders", [state])}
