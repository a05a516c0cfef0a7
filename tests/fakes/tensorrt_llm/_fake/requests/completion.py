# SPDX-License-Identifier: Apache-2.0
"""One sequence of a result."""

from typing import NamedTuple

FINISH_REASONS = {
    "END_ID": "stop",
    "STOP_WORDS": "stop",
    "LENGTH": "length",
    "TIMED_OUT": "timeout",
    "CANCELLED": "cancelled",
}


class Logprob(NamedTuple):
    """rank: not known here."""

    logprob: float
    rank: int | None = None


def _known(token_id: int, log_prob: float, count: int) -> dict[int, Logprob]:
    """Return so many tokens of a place. GenAI tells the chosen one's alone; the others are made up."""
    return {token_id ^ i: Logprob(log_prob - i) for i in range(count)}


class CompletionOutput:
    """Without a tokenizer the text stays empty. The diffs are what exceeds the length at the last step."""

    __slots__ = (
        "_last_length",
        "_last_log_probs",
        "additional_context_outputs",
        "additional_generation_outputs",
        "cumulative_logprob",
        "disaggregated_params",
        "finish_reason",
        "generation_logits",
        "index",
        "logprobs",
        "prompt_logprobs",
        "request_perf_metrics",
        "stop_reason",
        "text",
        "token_ids",
    )

    def __init__(self, index: int) -> None:
        self.index, self.text, self.token_ids = index, "", []
        self.cumulative_logprob, self.logprobs, self.prompt_logprobs = None, [], []
        self.finish_reason = self.stop_reason = self.generation_logits = None
        self.additional_context_outputs = self.additional_generation_outputs = None
        self.disaggregated_params = self.request_perf_metrics = None
        self._last_length = self._last_log_probs = 0

    @property
    def length(self) -> int:
        return len(self.token_ids)

    @property
    def text_diff(self) -> str:
        return ""

    @property
    def token_ids_diff(self) -> list[int]:
        return self.token_ids[self._last_length :]

    @property
    def logprobs_diff(self) -> list:
        return self.logprobs[self._last_log_probs :]

    def _apply(self, part, params, told_why) -> None:
        """Replace the list for beams; without them extend the list, which the caller may hold."""
        self._last_length, self._last_log_probs = len(self.token_ids), len(self.logprobs)
        if params.use_beam_search:
            self.token_ids = part.token_ids
        else:
            self.token_ids += part.token_ids[self._last_length :]
        if params.logprobs or params.best_of > params.n:
            self.cumulative_logprob = sum(part.log_probs)
        if params.logprobs:
            pairs = list(zip(part.top_ids, part.log_probs))[self._last_log_probs :]
            self.logprobs += [_known(token_id, log_prob, params.logprobs) for token_id, log_prob in pairs]
        if part.finish and told_why:
            self.finish_reason = FINISH_REASONS[part.finish]
        if self.finish_reason and part.finish == "STOP_WORDS":
            self._cut_stop_word(params)

    def _cut_stop_word(self, params) -> None:
        """Trap: ids that were streamed may be cut off; the log probabilities stay."""
        for reason, word in params._stop_words():
            if self.token_ids[-len(word) :] == word:
                self.stop_reason = reason
                if not params.include_stop_str_in_output:
                    self.token_ids = self.token_ids[: -len(word)]
                return
