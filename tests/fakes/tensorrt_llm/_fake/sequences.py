# SPDX-License-Identifier: Apache-2.0
"""A request inside the executor: its sequences, and the news it sends of them."""

import os
from typing import NamedTuple

import openvino_genai as genai
from tensorrt_llm._fake.generation import end_id, stop_words


class Part(NamedTuple):
    """One sequence: all of its ids so far, and its finish reason as C++ names it, "" while it goes on.

    top_ids: the tokens that the log probabilities belong to.
    """

    index: int
    token_ids: list[int]
    log_probs: list[float]
    finish: str
    top_ids: list[int]


class News(NamedTuple):
    """What one step generated for a request; an error ends it."""

    parts: list[Part]
    done: bool = False
    error: Exception | None = None


class Sequence:
    def __init__(self, params) -> None:
        self.ids: list[int] = []
        self.log_probs: list[float] = []
        self.finish = ""
        self.score = 0.0
        self._end_id, self._stop_words = end_id(params), stop_words(params)

    def take(self, output) -> None:
        """Add tokens up to the first stop word, included: the result cuts it off, as the real one does."""
        self.score = output.score
        probs = output.generated_log_probs or [0.0] * len(output.generated_ids)
        for token_id, log_prob in zip(output.generated_ids, probs):
            if token_id == self._end_id and os.environ.get("FAKE_TRTLLM_KEEP_END_TOKEN") != "1":
                break
            self.ids.append(token_id)
            self.log_probs.append(log_prob)
            if any(self.ids[-len(word) :] == word for word in self._stop_words):
                self.finish = "STOP_WORDS"
                return
        if output.finish_reason == genai.GenerationFinishReason.STOP:
            self.finish = "END_ID"
        elif output.finish_reason == genai.GenerationFinishReason.LENGTH:
            self.finish = "LENGTH"


class Entry:
    """An open request. width: slots it takes in the batch; beams share one."""

    def __init__(self, number, prompt, params, max_tokens, streaming, result, top_alone=False) -> None:
        self.number, self.prompt, self.params, self.max_tokens = number, prompt, params, max_tokens
        self._top_alone = top_alone and not params._greedy
        self.result, self.handle, self.aborted = result, None, False
        self.width = 1 if params.use_beam_search else params.best_of
        self.sequences = [Sequence(params) for _ in range(params.best_of)]
        self._streaming = streaming

    def take(self, outputs: dict) -> News | None:
        """Return the news, None if there is none. GenAI returns several sequences only at their end."""
        ranked = sorted(outputs)
        if self.params.use_beam_search:
            ranked.sort(key=lambda number: -outputs[number].score)
        for sequence, number in zip(self.sequences, ranked):
            sequence.take(outputs[number])
        done = all(sequence.finish for sequence in self.sequences)
        return self.news(done) if done or (self._streaming and ranked) else None

    def cancelled(self) -> News:
        for sequence in self.sequences:
            sequence.finish = sequence.finish or "CANCELLED"
        return self.news(done=True)

    def news(self, done: bool) -> News:
        parts = [
            Part(
                index, list(sequence.ids), list(sequence.log_probs), sequence.finish, self._top_ids(sequence)
            )
            for index, sequence in enumerate(self.sequences)
        ]
        return News(parts, done)

    def _top_ids(self, sequence: Sequence) -> list[int]:
        """Trap: only the most probable token has one, and here every second sampled token is another."""
        if not self._top_alone:
            return sequence.ids
        return [token_id ^ (index % 2) for index, token_id in enumerate(sequence.ids)]
