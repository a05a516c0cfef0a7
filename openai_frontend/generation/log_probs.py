# SPDX-License-Identifier: Apache-2.0
"""Log probabilities of tokens, in the forms of both calls."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from llm_ensemble.contract.token_bytes import TokenBytes
from llm_ensemble_client import Response

LEAST = -9999.0  # OpenAI's for what cannot be; JSON has no infinity
_utf8 = codecs.getincrementaldecoder("utf-8")


class Score(NamedTuple):
    """A token and its log probability; and the most probable ones at its place, the most probable first."""

    token: int
    log_prob: float
    top: Sequence[tuple[int, float]]


def scores(response: Response, sequence: int) -> list[Score] | None:
    """Return those of a response's sequence; None if they were not asked for."""
    ids, log_probs = response.output_token_ids, response.output_log_probs
    if ids is None or log_probs is None:
        return None
    tops: Iterable[Sequence[tuple[int, float]]] = [()] * len(ids[sequence])
    if response.top_token_ids is not None and response.top_token_log_probs is not None:
        pairs = zip(response.top_token_ids[sequence], response.top_token_log_probs[sequence])
        tops = [[*zip(tokens, values)] for tokens, values in pairs]
    return [Score(*one) for one in zip(ids[sequence], log_probs[sequence], tops)]


def chat_log_probs(found: Iterable[Score], bytes_of: TokenBytes) -> dict[str, Any]:
    """Return them as /v1/chat/completions has them."""

    def shown(token: int, log_prob: float) -> dict[str, Any]:
        raw = bytes_of.of(token)
        return {"token": raw.decode(errors="replace"), "logprob": max(log_prob, LEAST), "bytes": [*raw]}

    content = [
        {**shown(one.token, one.log_prob), "top_logprobs": [shown(*other) for other in one.top]}
        for one in found
    ]
    return {"content": content, "refusal": None}


class CompletionLogProbs:
    """Those of one choice of /v1/completions, where each token is at an offset of the text."""

    def __init__(self, bytes_of: TokenBytes) -> None:
        self._bytes_of = bytes_of
        self._offset = 0  # characters
        self._decoder = _utf8("replace")

    def next(self, found: Sequence[Score], has_top: bool) -> dict[str, Any]:
        """Return the next tokens'. has_top: whether the most probable ones were asked for."""
        return {
            "tokens": [self._shown(one.token) for one in found],
            "token_logprobs": [max(one.log_prob, LEAST) for one in found],
            "top_logprobs": [*map(self._top, found)] if has_top else None,
            "text_offset": [self._advance(one.token) for one in found],
        }

    def _top(self, one: Score) -> dict[str, float]:
        """Return the most probable tokens; the chosen one, too, if it is none of them."""
        pairs = [*one.top, (one.token, one.log_prob)]
        return {self._shown(token): max(log_prob, LEAST) for token, log_prob in pairs}

    def _shown(self, token: int) -> str:
        """Return a token as text; one that is no text by itself as OpenAI shows its bytes."""
        raw = self._bytes_of.of(token)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)

    def _advance(self, token: int) -> int:
        offset = self._offset
        self._offset += len(self._decoder.decode(self._bytes_of.of_text(token)))
        return offset
