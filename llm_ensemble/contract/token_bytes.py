# SPDX-License-Identifier: Apache-2.0
"""What one token stands for, as bytes: a character may be several tokens, each with some of its bytes."""

from __future__ import annotations

import json
from functools import cache, lru_cache

from tokenizers import Tokenizer
from tokenizers.decoders import ByteFallback

KEPT = 100_000  # tokens whose bytes are remembered
_FALLBACK = ByteFallback()


@cache
def fallback_byte(token: str) -> bytes | None:
    """Return the byte of a token like <0x0A>; None for any other token."""
    return bytes([int(token[3:5], 16)]) if _FALLBACK.decode([token]) != token else None


def _byte_level_alphabet() -> dict[str, int]:
    """Return GPT-2's character for each byte: itself if printable, else one from U+0100 on."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


_ALPHABET = _byte_level_alphabet()


@cache
def level_bytes(token: str) -> bytes:
    """Return the bytes of a token of ByteLevel."""
    try:
        return bytes(map(_ALPHABET.__getitem__, token))
    except KeyError:  # an added token, in plain text
        return token.encode()


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

    def vocabulary(self) -> list[bytes]:
        """Return what each token adds to the text, by its id; nothing for an id that has no token."""
        return [self.of_text(token) for token in range(1 + max(self._tokenizer.get_vocab().values()))]

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
