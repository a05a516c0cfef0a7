# SPDX-License-Identifier: Apache-2.0
"""Stop strings, matched on text."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


class StopMatcher:
    """Finds the first stop string in a text that arrives in pieces.

    The stop string whose last character comes first wins (of two that end together, the longer): the one
    rule whose answer does not depend on how the text was cut into pieces.
    """

    def __init__(self, stop_words: Sequence[str]) -> None:
        self.words = tuple(sorted({word for word in stop_words if word}))
        self._held = ""
        self.found = False

    def feed(self, text: str) -> str:
        """Add a piece of text; return what may be sent: no stop string, nothing after one, and no
        ending that the next piece could turn into one."""
        if not self.words:
            return text
        text, begin = self._held + text, 0
        for end in range(len(self._held) + 1, len(text) + 1):
            if text.endswith(self.words, begin, end):
                self.found, self._held = True, ""
                return text[: end - max(len(word) for word in self.words if text.endswith(word, begin, end))]
            while begin < end and not self._begins_a_word(text[begin:end]):
                begin += 1
        self._held = text[begin:]
        return text[:begin]

    def flush(self) -> str:
        """Return what was held back, at the end of the text."""
        held, self._held = self._held, ""
        return held

    def _begins_a_word(self, text: str) -> bool:
        """Return whether a stop string begins with `text`: of the sorted ones only the next can."""
        at = bisect_left(self.words, text)
        return at < len(self.words) and self.words[at].startswith(text)
