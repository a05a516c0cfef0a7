# SPDX-License-Identifier: Apache-2.0
"""One sequence of a stream: from token ids to text."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from tokenizers import Tokenizer

from llm_ensemble.contract.request import Part, TextOptions
from llm_ensemble.postprocessing.detokenizer import Detokenizer
from llm_ensemble.postprocessing.stop import StopMatcher


class Scores(msgspec.Struct):
    """Tokens with their log probabilities, and the most probable tokens at their places (see Part)."""

    token_ids: list[int] = []
    log_probs: list[float] = []
    top_ids: list[int] = []
    top_log_probs: list[float] = []

    def add(self, part: Part, used: int) -> None:
        """Add those of the first `used` tokens of a part."""
        self.token_ids += part.token_ids[:used]
        self.log_probs += part.log_probs[:used]
        if part.top_ids:
            used *= len(part.top_ids) // len(part.token_ids)
            self.top_ids += part.top_ids[:used]
            self.top_log_probs += part.top_log_probs[:used]


NO_SCORES = Scores()


@dataclass(frozen=True)
class SequenceText:
    """The part of one sequence in a response.

    text: new text. finish: why the sequence ended, "" if it did not. num_tokens: tokens that the text stands
    for. scores: theirs, if requested. cum_log_prob: the sum of log probabilities over the sequence so far.
    """

    text: str
    finish: str
    num_tokens: int
    scores: Scores
    cum_log_prob: float


class Sequence:
    """One sequence: detokenizes, matches stop strings, and gathers text until it is taken."""

    def __init__(self, tokenizer: Tokenizer, options: TextOptions) -> None:
        self._detokenizer = Detokenizer(tokenizer, options.skip_special_tokens)
        self._stop = StopMatcher(options.stop_words)
        self.finish = ""
        self._is_finish_taken = False
        self._text = options.echo
        self._num_tokens = 0
        self._scores = NO_SCORES
        self._cum_log_prob = 0.0

    @property
    def has_news(self) -> bool:
        """Whether there is text, or a finish reason, that was not taken yet."""
        return bool(self._text) or (bool(self.finish) and not self._is_finish_taken)

    def add(self, part: Part) -> None:
        """Add the next tokens. No-op after the end."""
        if self.finish:
            return
        used, text = self._text_until_stop(part)
        self.finish = "stop" if self._stop.found else part.finish
        self._text += text
        self._num_tokens += used
        if part.log_probs:
            if self._scores is NO_SCORES:
                self._scores = Scores()
            self._scores.add(part, used)

    def take(self) -> SequenceText:
        """Return everything new. The finish reason stays in later responses: the last one has them all."""
        self._cum_log_prob += sum(self._scores.log_probs)
        share = SequenceText(self._text, self.finish, self._num_tokens, self._scores, self._cum_log_prob)
        self._text, self._num_tokens, self._scores = "", 0, NO_SCORES
        self._is_finish_taken = bool(self.finish)
        return share

    @property
    def empty(self) -> SequenceText:
        """The part of a response that stands for no tokens; tokens held back are counted with their text."""
        return SequenceText("", self.finish, 0, NO_SCORES, self._cum_log_prob)

    def _text_until_stop(self, part: Part) -> tuple[int, str]:
        """Return how many tokens were used, and their text.

        With stop strings one token at a time is decoded, so that the count ends with the token that completed
        one, however many tokens the chunk has.
        """
        pieces = []
        at_a_time = 1 if self._stop.words else max(1, len(part.token_ids))
        for begin in range(0, len(part.token_ids), at_a_time):
            ids = part.token_ids[begin : begin + at_a_time]
            pieces.append(self._stop.feed(self._detokenizer.feed(ids)))
            if self._stop.found:
                return begin + 1, "".join(pieces)
        if part.finish:
            pieces.append(self._stop.feed(self._detokenizer.flush()))
            pieces.append("" if self._stop.found else self._stop.flush())
        return len(part.token_ids), "".join(pieces)
