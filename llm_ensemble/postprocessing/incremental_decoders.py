# SPDX-License-Identifier: Apache-2.0
"""The decoders of the tokenizers library, for tokens that come one at a time.

The library's own take all tokens at once. A decoder here takes the next tokens and returns at once what no
later token can change, and no more. The library decodes each single token, once; only how tokens affect each
other is written here.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Protocol

from tokenizers import Tokenizer
from tokenizers.decoders import Decoder

from llm_ensemble.contract.token_bytes import fallback_byte, level_bytes

Read = Callable[[str], str]
_utf8 = codecs.getincrementaldecoder("utf-8")


class IncrementalDecoder(Protocol):
    """One decoder of a chain, for one stream."""

    def feed(self, tokens: list[str]) -> list[str]:
        """Add tokens; return what no later token changes."""

    def flush(self) -> list[str]:
        """Return the rest, after the last token."""


def decoders_of(decoder: Decoder | None) -> list[Callable[[], IncrementalDecoder]]:
    """Return the constructors of a decoder's incremental parts, to be called once a stream."""
    if decoder is None:
        return [partial(EachToken, str, " {}".format)]
    try:
        parts = _flat(json.loads(decoder.__getstate__()))
    except Exception:  # what the library raises for a decoder written in Python
        return [partial(AtEnd, decoder)]
    decoders = _understood(parts)
    return [partial(AtEnd, decoder)] if decoders is None else decoders


def _understood(parts: list[dict[str, Any]]) -> list[Callable[[], IncrementalDecoder]] | None:
    """Return the incremental parts, or None if one of them works only at the end, or is unknown."""
    decoders: list[Callable[[], IncrementalDecoder]] = []
    whole = False  # whether the decoders before this one have made one text of the tokens
    for part in parts:
        kind = part["type"]
        if kind != "Fuse":
            decoder = _on_text(part) if whole else _on_tokens(part)
            if decoder is None:
                return None
            decoders.append(decoder)
        whole = whole or kind in ("Fuse", "ByteLevel")
    return decoders


def _flat(part: dict[str, Any]) -> list[dict[str, Any]]:
    if part["type"] != "Sequence":
        return [part]
    return [inner for each in part["decoders"] for inner in _flat(each)]


def _on_tokens(part: dict[str, Any]) -> Callable[[], IncrementalDecoder] | None:
    decoder = _library(part)
    alone = cache(lambda token: decoder.decode([token]))
    kind = part["type"]
    if kind in ("Replace", "Strip", "Metaspace", "WordPiece"):
        return partial(
            EachToken, alone, cache(lambda token: decoder.decode([token] * 2)[len(alone(token)) :])
        )
    bytewise: dict[str, Callable[[], IncrementalDecoder]] = {
        "ByteFallback": ByteFallback,
        "ByteLevel": ByteLevel,
    }
    return bytewise.get(kind)  # none for CTC and BPEDecoder, which no language model of today has


def _on_text(part: dict[str, Any]) -> Callable[[], IncrementalDecoder] | None:
    if part["type"] == "Strip":
        return partial(StripText, part["content"], part["start"], part["stop"])
    return None  # what comes may change all that was


def _library(part: dict[str, Any]) -> Decoder:
    """Return the library's decoder as a function; a tokenizer around it is its public interface."""
    model = {"type": "WordLevel", "vocab": {}, "unk_token": ""}
    decoder: Decoder = Tokenizer.from_str(
        json.dumps({"version": "1.0", "model": model, "decoder": part})
    ).decoder
    return decoder


class AtEnd:
    """Any decoder: exact, but without output before the end."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._tokens: list[str] = []

    def feed(self, tokens: list[str]) -> list[str]:
        """Add tokens; return nothing before the end."""
        self._tokens += tokens
        return []

    def flush(self) -> list[str]:
        """Return the decode of all tokens at once."""
        tokens, self._tokens = self._tokens, []
        return [self._decoder.decode(tokens)] if tokens else []


class EachToken:
    """Each token decodes to the same text at any position but the first."""

    def __init__(self, first: Read, other: Read) -> None:
        self._first = first
        self._other = other
        self._started = False

    def feed(self, tokens: list[str]) -> list[str]:
        """Add tokens; return their texts."""
        if self._started or not tokens:
            return [self._other(token) for token in tokens]
        self._started = True
        return [self._first(tokens[0]), *map(self._other, tokens[1:])]

    def flush(self) -> list[str]:
        """Return nothing: no text is held back."""
        return []


class ByteFallback:
    """Byte tokens: a run of them is text if all of it is UTF-8, else one U+FFFD a byte.

    So the run waits for its end: any byte to come may spoil it. Once spoilt, nothing of it waits.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._length = self._given = 0  # bytes
        self._text: list[str] = []
        self._utf8 = _utf8()
        self._spoilt = False

    def feed(self, tokens: list[str]) -> list[str]:
        """Add tokens: bytes join the run, another token ends it."""
        texts = []
        for token in tokens:
            byte = fallback_byte(token)
            if byte is None:
                texts += self.flush()
                texts.append(token)
            else:
                self._length += 1
                texts += self._take(byte, final=False)
        return texts

    def flush(self) -> list[str]:
        """Return the text of the run, at its end."""
        if not self._length:
            return []
        texts = self._take(b"", final=True)
        if not self._spoilt:
            texts = ["".join(self._text)]
        self._begin()
        return texts

    def _take(self, byte: bytes, final: bool) -> list[str]:
        if not self._spoilt:
            try:
                self._text.append(self._utf8.decode(byte, final))
                return []
            except UnicodeDecodeError:
                self._spoilt = True
        count, self._given = self._length - self._given, self._length
        return ["\ufffd"] * count


class ByteLevel:
    """Each token is bytes. Those of an incomplete character are held back, what cannot become one is not."""

    def __init__(self) -> None:
        self._utf8 = _utf8("replace")

    def feed(self, tokens: list[str]) -> list[str]:
        """Add tokens; return the characters that are complete."""
        return [self._utf8.decode(b"".join(map(level_bytes, tokens)))]

    def flush(self) -> list[str]:
        """Return the incomplete character as it is."""
        return [self._utf8.decode(b"", True)]


class StripText:
    """Removes a character from the beginning and end of the whole text, up to so many times."""

    def __init__(self, character: str, start: int, stop: int) -> None:
        self._character = character
        self._start = start
        self._stop = stop
        self._waiting = ""

    def feed(self, tokens: list[str]) -> list[str]:
        """Add tokens; return all but what would be removed if the text ended here."""
        text = self._waiting + "".join(tokens)
        while self._start and text:
            self._start -= 1
            text = text.removeprefix(self._character)
        at_end = len(text) - len(text.rstrip(self._character))
        certain = len(text) - min(self._stop, at_end)
        self._waiting = text[certain:]
        return [text[:certain]]

    def flush(self) -> list[str]:
        """Return the text held back, at the end."""
        self._waiting = ""
        return []
