# SPDX-License-Identifier: Apache-2.0
"""Tokenizing of prompts, and the special tokens that a tokenizer adds before and after them.

A tokenizer's post-processor puts special tokens around every text, such as Llama's <s> or OPT's </s> before
it. A text may begin with the same token already: a pasted prompt that a chat template rendered does.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator, Sequence

from tokenizers import Tokenizer

PROBES = ("a", "the", "1")  # texts that show what a tokenizer puts around one
MORE_PROBES = 100  # tokens of the vocabulary, tried where none of these does


class Special(enum.Enum):
    """The special tokens that are added to a text, beside those written in it."""

    NONE = "none"
    ALL = "all"  # all that the tokenizer adds, repeated or not
    ONCE = "once"  # all, except that what the text begins with already is not put before it again


class PromptTokenizer:
    """Tokenizes prompts, many in one call."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._before, self._after = surroundings(tokenizer)

    def encode(self, texts: Sequence[str], special: Sequence[Special]) -> list[list[int]]:
        """Return the token ids of each text; `special` has one value a text."""
        ids: list[list[int]] = [[] for _ in texts]
        for added in (False, True):
            chosen = [i for i, wish in enumerate(special) if (wish is not Special.NONE) == added]
            encodings = self._tokenizer.encode_batch_fast(
                [texts[i] for i in chosen], add_special_tokens=added
            )
            for i, encoding in zip(chosen, encodings):
                ids[i] = self._once(encoding.ids) if special[i] is Special.ONCE else encoding.ids
        return ids

    def _once(self, ids: list[int]) -> list[int]:
        """Return the ids without what was put before the text, if the text's own begin with the same."""
        count = len(self._before)
        own = ids[count : len(ids) - len(self._after)]
        return ids[count:] if count and own[:count] == self._before else ids


def surroundings(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the ids that the tokenizer puts before and after a text.

    Both are empty where it adds none, and where no probe shows on which side they are.
    """
    for text in _probes(tokenizer):
        own = tokenizer.encode(text, add_special_tokens=False).ids
        ids = tokenizer.encode(text).ids
        ends = range(len(own), len(ids) + 1)
        found = [end for end in ends if own and ids[end - len(own) : end] == own]
        if len(found) == 1:
            return ids[: found[0] - len(own)], ids[found[0] :]
    return [], []


def _probes(tokenizer: Tokenizer) -> Iterator[str]:
    yield from PROBES
    yield from itertools.islice(sorted(tokenizer.get_vocab()), MORE_PROBES)
