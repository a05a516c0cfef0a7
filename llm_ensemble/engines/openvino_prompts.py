# SPDX-License-Identifier: Apache-2.0
"""Which prompts OpenVINO GenAI's pipeline has read to their end, which nothing in it tells.

Whoever cancels a request before leaves garbage in the prefix cache: the last block a step wrote to counts as
full of the prompt's tokens when it is only begun (seen on 2026.4.1).
"""

from __future__ import annotations

from llm_ensemble.engines.admission import Entry


class UnreadPrompts:
    """Counts what every step reads at the least, as the pipeline's scheduler deals its tokens out.

    Each running sequence gets one first; what remains goes to the prompts, in the order in which they came. A
    prompt that begins like an earlier one is read sooner than counted here, none later, as long as the KV
    cache has room for everybody.
    """

    def __init__(self, tokens_a_step: int) -> None:
        self._tokens_a_step = tokens_a_step
        self._left: dict[int, int] = {}  # tokens that may be unread, by the request's number, in their order

    def add(self, entry: Entry) -> None:
        """The pipeline has got this request."""
        self._left[entry.request.number] = len(entry.request.input_ids)

    def has(self, entry: Entry) -> bool:
        """Whether some of this request's prompt may be unread."""
        return entry.request.number in self._left

    def remove(self, entry: Entry) -> None:
        """It has given a token, or has ended."""
        self._left.pop(entry.request.number, None)

    def step(self, running: int) -> None:
        """The pipeline has made a step; running: sequences of all its requests, those of unread ones too."""
        tokens = max(0, self._tokens_a_step - running)
        for number in list(self._left):
            read = min(tokens, self._left[number])
            tokens -= read
            self._left[number] -= read
            if not self._left[number]:
                del self._left[number]
