# SPDX-License-Identifier: Apache-2.0
"""The decoders of the tokenizers library, for tokens that come one at a time.

The library's own take all the tokens at once. A step here takes the next tokens and gives at once whatever
no later token can change, and no more. How a single token reads is asked of the library, once a token;
what is written anew is only how tokens act upon each other.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Protocol

from tokenizers import Tokenizer
from tokenizers.decoders import Decoder

Read = Callable[[str], str]
_utf8 = codecs.getincrementaldecoder("utf-8")


class Step(Protocol):
    """One decoder of a chain, for one stream."""

    def feed(self, tokens: list[str]) -> list[str]:
        """Take the next tokens, return what is certain now."""

    def flush(self) -> list[str]:
        """No token follows: return the rest."""


def steps_of(decoder: Decoder | None) -> list[Callable[[], Step]]:
    """What makes the steps of this decoder: call each once a stream."""
    if decoder is None:
        return [partial(EachToken, str, " {}".format)]
    try:
        parts = _flat(json.loads(decoder.__getstate__()))
    except Exception:  # what the library raises for a decoder written in Python
        return [partial(AtEnd, decoder)]
    steps = _understood(parts)
    return [partial(AtEnd, decoder)] if steps is None else steps


def _understood(parts: list[dict[str, Any]]) -> list[Callable[[], Step]] | None:
    """The steps, or None if one of them can only be done at the end, or is not known here."""
    steps: list[Callable[[], Step]] = []
    whole = False  # whether the decoders before this one have made one text of the tokens
    for part in parts:
        kind = part["type"]
        if kind != "Fuse":
            step = _on_text(part) if whole else _on_tokens(part)
            if step is None:
                return None
            steps.append(step)
        whole = whole or kind in ("Fuse", "ByteLevel")
    return steps


def _flat(part: dict[str, Any]) -> list[dict[str, Any]]:
    if part["type"] != "Sequence":
        return [part]
    return [inner for each in part["decoders"] for inner in _flat(each)]


def _on_tokens(part: dict[str, Any]) -> Callable[[], Step] | None:
    decoder = _library(part)
    alone = cache(lambda token: decoder.decode([token]))
    kind = part["type"]
    if kind in ("Replace", "Strip", "Metaspace", "WordPiece"):
        return partial(
            EachToken, alone, cache(lambda token: decoder.decode([token] * 2)[len(alone(token)) :])
        )
    bytewise: dict[str, Callable[[], Step]] = {"ByteFallback": ByteFallback, "ByteLevel": ByteLevel}
    return bytewise.get(kind)  # none for CTC and BPEDecoder, which no language model of today has


def _on_text(part: dict[str, Any]) -> Callable[[], Step] | None:
    if part["type"] == "Strip":
        return partial(StripText, part["content"], part["start"], part["stop"])
    return None  # what comes may change all that was


def _library(part: dict[str, Any]) -> Decoder:
    """The library's decoder by itself; a tokenizer around it is the public way to one."""
    model = {"type": "WordLevel", "vocab": {}, "unk_token": ""}
    decoder: Decoder = Tokenizer.from_str(
        json.dumps({"version": "1.0", "model": model, "decoder": part})
    ).decoder
    return decoder


class AtEnd:
    """Any decoder whatever: exact, but nothing is certain before the end."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._tokens: list[str] = []

    def feed(self, tokens: list[str]) -> list[str]:
        """Keep them."""
        self._tokens += tokens
        return []

    def flush(self) -> list[str]:
        """Decode all at once."""
        tokens, self._tokens = self._tokens, []
        return [self._decoder.decode(tokens)] if tokens else []


class EachToken:
    """Every token reads the same wherever it stands, but for the first."""

    def __init__(self, first: Read, other: Read) -> None:
        self._first = first
        self._other = other
        self._started = False

    def feed(self, tokens: list[str]) -> list[str]:
        """Read each."""
        if self._started or not tokens:
            return [self._other(token) for token in tokens]
        self._started = True
        return [self._first(tokens[0]), *map(self._other, tokens[1:])]

    def flush(self) -> list[str]:
        """Nothing waits."""
        return []


_FALLBACK = _library({"type": "ByteFallback"})


@cache
def _byte(token: str) -> bytes | None:
    """The byte that a token like <0x0A> stands for."""
    return bytes([int(token[3:5], 16)]) if _FALLBACK.decode([token]) != token else None


class ByteFallback:
    """A run of byte tokens is text if all of it is UTF-8, else one U+FFFD a byte.

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
        """Take bytes into the run; another token ends it."""
        texts = []
        for token in tokens:
            byte = _byte(token)
            if byte is None:
                texts += self.flush()
                texts.append(token)
            else:
                self._length += 1
                texts += self._take(byte, final=False)
        return texts

    def flush(self) -> list[str]:
        """The run is at its end."""
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


def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's way to write a byte as a character: itself if it shows, else one from U+0100 on."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


_ALPHABET = _byte_level_alphabet()


@cache
def _bytes(token: str) -> bytes:
    try:
        return bytes(map(_ALPHABET.__getitem__, token))
    except KeyError:  # an added token, in plain text
        return token.encode()


class ByteLevel:
    """Every token is bytes. Those of an incomplete character wait, and what cannot become one does not."""

    def __init__(self) -> None:
        self._utf8 = _utf8("replace")

    def feed(self, tokens: list[str]) -> list[str]:
        """Give the characters that are complete."""
        return [self._utf8.decode(b"".join(map(_bytes, tokens)))]

    def flush(self) -> list[str]:
        """No byte follows."""
        return [self._utf8.decode(b"", True)]


class StripText:
    """Takes a character off the beginning and the end of the whole text, so many times at most."""

    def __init__(self, character: str, start: int, stop: int) -> None:
        self._character = character
        self._start = start
        self._stop = stop
        self._waiting = ""

    def feed(self, tokens: list[str]) -> list[str]:
        """Give all but what would be taken off if the text ended here."""
        text = self._waiting + "".join(tokens)
        while self._start and text:
            self._start -= 1
            text = text.removeprefix(self._character)
        at_end = len(text) - len(text.rstrip(self._character))
        certain = len(text) - min(self._stop, at_end)
        self._waiting = text[certain:]
        return [text[:certain]]

    def flush(self) -> list[str]:
        """The text ends here."""
        self._waiting = ""
        return []
