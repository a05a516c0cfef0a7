# SPDX-License-Identifier: Apache-2.0
"""SamplingParams: the sheet's fields and the rules that hold between them."""

import os

from tensorrt_llm._fake.facts import Record, make_class


class _Ruled(Record):
    """Rules are checked once, at the end of __init__, as a dataclass's __post_init__ does."""

    __slots__ = ()

    def _finish(self):
        if self.pad_id is None:
            self.pad_id = self.end_id
        self.best_of = self.best_of or self.n
        self._check_ranges()
        if self.best_of < self.n:
            raise ValueError(f"best_of ({self.best_of}) must not be below n ({self.n})")
        allowed = self.use_beam_search or os.environ.get("TLLM_ALLOW_N_GREEDY_DECODING")
        if self.best_of > 1 and self._greedy and not allowed:
            raise ValueError(f"greedy decoding gives one sequence, not best_of {self.best_of}")

    def __setattr__(self, name, value):
        super().__setattr__(name, int(value) if name == "logprobs" and value is True else value)

    def _check_ranges(self):
        if self.top_p is not None and not 0 <= self.top_p <= 1:
            raise ValueError(f"top_p must be 0 to 1, not {self.top_p}")
        for name in ("top_k", "temperature"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} must be at least 0, not {getattr(self, name)}")

    @property
    def _greedy(self) -> bool:
        if self.use_beam_search:
            return False
        unset = self.temperature is None and self.top_p is None and self.top_k is None
        return unset or self.top_k == 1 or self.top_p == 0 or self.temperature == 0

    def _stop_words(self) -> list[tuple[int | str, list[int]]]:
        """Stop reasons and ids. Trap: _stop_word_ids is read only when stop is set."""
        return self._words("stop", self.stop_token_ids, self._stop_word_ids)

    def _bad_words(self) -> list[tuple[int | str, list[int]]]:
        return self._words("bad", self.bad_token_ids, self._bad_word_ids)

    def _words(self, name, token_ids, word_ids):
        words = [(token_id, [token_id]) for token_id in token_ids or ()]
        if (texts := getattr(self, name)) is None:
            return words
        if word_ids is None:
            raise RuntimeError(f"{name} ({texts!r}) was not tokenized: there is no tokenizer")
        texts = [texts] if isinstance(texts, str) else texts
        return words + list(zip(texts, word_ids))


SamplingParams = make_class("SamplingParams", _Ruled)
