# SPDX-License-Identifier: Apache-2.0
"""Asking an engine by itself: no Triton, no text."""

import queue

import msgspec

from llm_ensemble.engines.base import GenerationRequest
from llm_ensemble.sampling import Sampling

PROMPT = [0, 300, 400, 500, 600]


def changed(struct, **changes):
    return msgspec.structs.replace(struct, **changes)


class Asked:
    """A submitted request and what came for it. Nothing ends its text but max_tokens unless it says so."""

    def __init__(self, engine, number, input_ids=None, **sampling):
        self._came = queue.Queue()
        sampling = Sampling(**{"max_tokens": 20, **sampling})
        self._sequences = sampling.num_return_sequences
        engine.submit(GenerationRequest(number, input_ids or PROMPT, sampling), self._came.put)

    def next(self):
        return self._came.get(timeout=30)

    def rest(self):
        """Everything until the last."""
        came, to_end = [], set(range(self._sequences))
        while to_end:
            came.append(tokens := self.next())
            if tokens.finish:
                to_end.remove(tokens.index)
            if tokens.error or tokens.finish == "cancelled":
                to_end.clear()
        assert self._came.empty(), "something came after the last"
        return came

    def ids(self):
        return [token for tokens in self.rest() for token in tokens.token_ids]

    def sequences(self):
        """The ids of each sequence."""
        ids = [[] for _ in range(self._sequences)]
        for tokens in self.rest():
            ids[tokens.index] += tokens.token_ids
        return ids


def longest_run(ids):
    """How often the most frequent token comes."""
    return max(ids.count(token) for token in ids)
