# SPDX-License-Identifier: Apache-2.0
"""What a request adds to the logits of single tokens, by two ways to say it.

`logit_bias`: JSON, token ids and numbers, as in OpenAI's API. `embedding_bias_words` and
`embedding_bias_weights`: words and a number each, as in NVIDIA's ensemble.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from llm_ensemble.errors import RequestError

FIELD, WORDS, WEIGHTS = "logit_bias", "embedding_bias_words", "embedding_bias_weights"
MAX_BIAS = 100  # OpenAI's
MAX_TOKENS = 1024  # each costs a little at every step


def read_logit_bias(text: str, vocabulary: int) -> dict[int, float]:
    """Return the bias by token id, without those of 0. Raise RequestError."""
    try:
        given = msgspec.json.decode(text or "{}", type=dict[int, float])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _wrong(
            f'{error}; send a JSON object of token ids and numbers, such as {{"50256": -100}}'
        ) from error
    if len(given) > MAX_TOKENS:
        raise _wrong(f"got {len(given)} tokens, at most {MAX_TOKENS} are allowed")
    for token_id, bias in given.items():
        if not 0 <= token_id < vocabulary:
            raise _wrong(f"got token {token_id}, must be at least 0 and at most {vocabulary - 1}")
        if not -MAX_BIAS <= bias <= MAX_BIAS:
            raise _wrong(
                f"got {bias:g} for token {token_id}, must be at least -{MAX_BIAS} and at most {MAX_BIAS}"
            )
    return {token_id: bias for token_id, bias in given.items() if bias}


def read_word_bias(words: list[str], weights: list[float]) -> dict[str, float]:
    """Return the words that are not empty, and the weight of each, without those of 0. Raise RequestError.

    NVIDIA's clients send an empty word or a weight of 0 alone, for none.
    """
    if not any(words) and not any(weights):
        return {}
    if len(words) != len(weights):
        raise RequestError(WEIGHTS, f"got {len(weights)}, must be one for each of {WORDS}, {len(words)}")
    bias: dict[str, float] = {}
    for word, weight in zip(words, weights):
        bias[word] = bias.get(word, 0.0) + weight
    return {word: weight for word, weight in bias.items() if word and weight}


def add_bias(bias: Mapping[int, float], more: Iterable[tuple[list[int], float]]) -> dict[int, float]:
    """Return the bias by token id with that of tokens added, as often as each occurs. Raise RequestError."""
    total = {**bias}
    for token_ids, weight in more:
        for token_id in token_ids:
            total[token_id] = total.get(token_id, 0.0) + weight
    if len(total) > MAX_TOKENS:
        raise RequestError(WORDS, f"the words have {len(total)} tokens, at most {MAX_TOKENS} are allowed")
    return {token_id: weight for token_id, weight in total.items() if weight}


def _wrong(problem: str) -> RequestError:
    return RequestError(FIELD, problem)
