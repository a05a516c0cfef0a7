# SPDX-License-Identifier: Apache-2.0
"""Prompts: given ones, or synthetic ones of an exact number of tokens."""

from __future__ import annotations

import json
import random
import urllib.request
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench.record import BenchError

Count = Callable[[str], int]  # tokens of a text, special ones included

TEXT = (
    "the of and to in is that it was for on are as with they be at one have this from or had by word but "
    "what some we can out other were all there when up use your how said an each she which do their time"
)
WORDS = TEXT.split()
ROUNDS = 200  # two or three are usual


def read_prompts(path: Path) -> list[str]:
    """Return the prompts of a file, one a line, without empty lines. Raise BenchError."""
    try:
        prompts = [line for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path} cannot be read as lines of text: {error}") from error
    if not prompts:
        raise BenchError(f"{path} has no prompts: one a line")
    return prompts


def synthetic(number: int, tokens: int, count: Count, seed: int) -> list[str]:
    """Return prompts of random common words, all different where possible, of exactly so many tokens.

    Raises BenchError when no text has so few.
    """
    draw = random.Random(seed)
    return [_prompt(tokens, count, draw) for _ in range(number)]


def _prompt(tokens: int, count: Count, draw: random.Random) -> str:
    """Add words for what is missing, take away for what is too much, at what a word was worth so far."""
    words = [draw.choice(WORDS)]
    for _ in range(ROUNDS):
        found = count(" ".join(words))
        if found == tokens:
            return " ".join(words)
        step = max(1, abs(tokens - found) * len(words) // max(1, found))
        if found < tokens:
            words += [draw.choice(WORDS) for _ in range(step)]
        else:
            # One more than needed: the word before may be what leaves a gap that no word fits.
            words = words[: -step - 1] or [draw.choice(WORDS)]
    raise BenchError(f"no synthetic prompt has {tokens} tokens with this tokenizer: take another number")


def counter(tokenizer: Path) -> Count:
    """Return a counter of tokens by a tokenizer.json. Raise BenchError."""
    from tokenizers import Tokenizer

    try:
        loaded = Tokenizer.from_file(str(tokenizer))
    except Exception as error:  # tokenizers raises bare Exception
        raise BenchError(f"{tokenizer} cannot be loaded: {error}") from error
    return lambda text: len(loaded.encode(text).ids)


def counter_of_server(http_address: str, model: str) -> Count:
    """Return a counter of tokens that requests one token of a server. Raise BenchError."""

    def count(text: str) -> int:
        body = json.dumps({"text_input": text, "max_tokens": 1}).encode()
        url = f"http://{http_address}/v2/models/{model}/generate"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body), timeout=60) as answer:
                return int(json.load(answer)["num_input_tokens"])
        except (OSError, ValueError, KeyError) as error:
            raise BenchError(f"{url} cannot be asked for a prompt's length: {error}") from error

    return count
