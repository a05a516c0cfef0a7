# SPDX-License-Identifier: Apache-2.0
"""Keeps two requests in prefill from writing to one block of OpenVINO GenAI's prefix cache.

Observed with 2026.4.1: the cache finds a block that is filled in part, too, by the tokens it holds; a request
whose prompt begins with these gets that block and writes the rest of its prompt there. A copy is made when a
request generates, not in prefill. So two in prefill overwrite each other, and what a prefill leaves free in
its last block, it sets to zero.

A block filled in part holds a prompt, or a prompt and what was generated for it. So two requests can share
one only if both prompts begin with a prompt of before, or the later one with the earlier one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from llm_ensemble.engines.openvino.prefill import PrefillTracker
from llm_ensemble.engines.scheduler import ActiveRequest
from llm_ensemble.manifest import Limits


@dataclass(eq=False)
class _Prompt:
    """A prompt by hashes of its beginnings. Two that collide cost a request some steps and no more.

    beginnings: the hash of the first n tokens, at n.
    known: length of the shortest earlier prompt that it begins with, 0 if none.
    is_apart: whether it has generated, so that its last block is its own.
    """

    beginnings: np.ndarray[tuple[int], np.dtype[np.uint64]]
    known: int = 0
    is_apart: bool = False

    @property
    def whole(self) -> int:
        """The hash of all tokens."""
        return int(self.beginnings[-1])

    def goes_on_from(self, earlier: _Prompt) -> bool:
        """Return whether it begins with the earlier one and is longer."""
        length = len(earlier.beginnings) - 1
        return length < len(self.beginnings) - 1 and self._begins_with(earlier, length)

    def may_share(self, earlier: _Prompt) -> bool:
        """Return whether it may be given a block that the earlier one, in prefill, writes to."""
        return (earlier.known > 0 and self._begins_with(earlier, earlier.known)) or self.goes_on_from(earlier)

    def _begins_with(self, other: _Prompt, length: int) -> bool:
        return length < len(self.beginnings) and bool(self.beginnings[length] == other.beginnings[length])


class PrefixGate:
    """Lets requests into the pipeline in their order, unless two in prefill might share a block.

    One that has to wait lets others pass, but none that it would have to wait for.

    blocks: of the KV cache. Of requests that have ended, four times as many prompts are remembered.
    is_open: lets every request in at once; for a pipeline without the prefix cache.
    """

    def __init__(self, limits: Limits, blocks: int, *, is_open: bool = False) -> None:
        draw = np.random.default_rng(0)
        self._weights = draw.integers(1, 2**63, limits.max_seq_len + 1, dtype=np.uint64)
        self._tokens_per_step = limits.max_num_tokens
        self._remembered = 4 * blocks
        self._is_open = is_open
        self._waiting: dict[ActiveRequest, _Prompt] = {}
        self._inside: dict[ActiveRequest, _Prompt] = {}
        self._ended: dict[int, None] = {}  # hashes of prompts, the last to end at the end

    def put(self, active: ActiveRequest) -> None:
        """Let a request wait for enter()."""
        ids = np.array([-1, *active.request.input_ids], dtype=np.int64)[: len(self._weights)]
        values = (ids + 1).astype(np.uint64) * self._weights[: len(ids)]
        prompt = _Prompt(np.cumsum(values, dtype=np.uint64))
        prompt.known = self._shortest_known(prompt)
        self._waiting[active] = prompt

    def enter(self) -> Iterator[ActiveRequest]:
        """Yield the requests that are to be added to the pipeline before its next step."""
        passed: list[_Prompt] = []
        for active, prompt in list(self._waiting.items()):
            if not self._is_open and self._must_wait(prompt, passed):
                passed.append(prompt)
                continue
            del self._waiting[active]
            self._inside[active] = prompt
            for other in self._waiting.values():
                if other.goes_on_from(prompt):
                    length = len(prompt.beginnings) - 1
                    other.known = min(other.known or length, length)
            yield active

    def step(self, prefill: PrefillTracker, sequences: int) -> None:
        """Count a step of the pipeline with so many sequences; `prefill` has not counted it yet.

        A request whose prefill was complete before has generated now, if there were tokens for all.
        """
        if sequences > self._tokens_per_step:
            return
        for active, prompt in self._inside.items():
            prompt.is_apart = prompt.is_apart or not prefill.is_incomplete(active)

    def remove(self, active: ActiveRequest) -> None:
        """Forget a request that has ended, but not its prompt; no-op if it is unknown."""
        self._waiting.pop(active, None)
        if prompt := self._inside.pop(active, None):
            self._ended.pop(prompt.whole, None)
            self._ended[prompt.whole] = None
            if len(self._ended) > self._remembered:
                del self._ended[next(iter(self._ended))]

    def _must_wait(self, prompt: _Prompt, passed: list[_Prompt]) -> bool:
        before = (one for one in self._inside.values() if not one.is_apart)
        return any(map(prompt.may_share, before)) or any(one.may_share(prompt) for one in passed)

    def _shortest_known(self, prompt: _Prompt) -> int:
        known = {one.whole for one in self._inside.values()}
        shorter = enumerate(prompt.beginnings[1:-1].tolist(), 1)
        return next((length for length, one in shorter if one in known or one in self._ended), 0)
