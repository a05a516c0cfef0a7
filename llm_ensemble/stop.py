# SPDX-License-Identifier: Apache-2.0
"""Stop strings, matched on text. Knows no tokens."""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Finds the first stop string in a text that arrives in pieces.

    The stop string whose last character comes first wins (of two that end together, the longer): the one
    rule whose answer does not depend on how the text was cut into pieces.
    """

    def __init__(self, stop_words: Sequence[str]) -> None:
        self._words = [word for word in stop_words if word]
        self._held = ""
        self.found = False

    def feed(self, text: str) -> str:
        """Take the next piece; return what may be shown: no stop string, nothing after one, and no
        ending that the next piece could turn into one."""
        text = self._held + text
        matches = [(at + len(word), at) for word in self._words if (at := text.find(word)) >= 0]
        if matches:
            self.found, self._held = True, ""
            return text[: min(matches)[1]]
        hold = self._undecided(text)
        self._held = text[len(text) - hold :]
        return text[: len(text) - hold]

    def flush(self) -> str:
        """The text is at its end: return what was held back."""
        held, self._held = self._held, ""
        return held

    def _undecided(self, text: str) -> int:
        """Length of the longest ending of `text` that is a beginning of a stop string."""
        longest = min(len(text), max(map(len, self._words), default=1) - 1)
        return next(
            (n for n in range(longest, 0, -1) if any(word.startswith(text[-n:]) for word in self._words)), 0
        )
