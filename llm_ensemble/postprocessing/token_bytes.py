# SPDX-License-Identifier: Apache-2.0
"""What one token stands for, as bytes: a character may be several tokens, each with some of its bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache

from tokenizers import Tokenizer

from llm_ensemble.postprocessing.incremental_decoders import fallback_byte, level_bytes

KEPT = 100_000  # tokens whose bytes are remembered


def token_bytes(tokenizer: Tokenizer) -> Callable[[int], bytes]:
    """Return the function from a token's id to its bytes, within a text: empty for an id of no token.

    Special tokens are bytes here, too, though they are no text.
    """
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    kinds = _kinds(tokenizer)

    @lru_cache(maxsize=KEPT)
    def read(token_id: int) -> bytes:
        token = tokenizer.id_to_token(token_id)
        if token is None:
            return b""
        if token in added:
            return token.encode()
        if "ByteLevel" in kinds:
            return level_bytes(token)
        byte = fallback_byte(token) if "ByteFallback" in kinds else None
        return _within(tokenizer, token).encode() if byte is None else byte

    return read


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
