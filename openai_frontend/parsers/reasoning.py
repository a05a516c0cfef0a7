# SPDX-License-Identifier: Apache-2.0
"""The reasoning of models that think in tags: <think>...</think> in front of the answer."""

from __future__ import annotations

BEGIN, END = "<think>", "</think>"


class ReasoningParser:
    """Divides a text that comes in pieces; the tags are part of neither half.

    is_open: whether the prompt has the first tag already. Models may repeat it.
    """

    def __init__(self, is_open: bool) -> None:
        self._is_open = is_open
        self._rest = ""  # whose meaning is not certain yet
        self._has_begun = self._has_ended = False

    def feed(self, text: str) -> tuple[str, str]:
        """Add text; return reasoning and content, as far as they are certain."""
        if self._has_ended:
            return "", text
        self._rest += text
        if not self._has_begun and not self._begin():
            return "", ""
        if not self._is_open:
            self._has_ended = True
            return "", self._all()
        before, tag, behind = self._rest.partition(END)
        if tag:
            self._rest, self._has_ended = "", True
            return before, behind
        held = next((n for n in range(len(END) - 1, 0, -1) if before.endswith(END[:n])), 0)
        certain = len(before) - held
        self._rest = before[certain:]
        return before[:certain], ""

    def flush(self) -> tuple[str, str]:
        """Return the rest, at the end of the text."""
        return (self._all(), "") if self._is_open else ("", self._all())

    def _begin(self) -> bool:
        """Look for the first tag; return whether it is certain if there is one."""
        begun = self._rest.lstrip()
        if len(begun) < len(BEGIN) and BEGIN.startswith(begun):
            return False
        if begun.startswith(BEGIN):
            self._rest = begun[len(BEGIN) :]
            self._is_open = True
        self._has_begun = True
        return True

    def _all(self) -> str:
        rest, self._rest = self._rest, ""
        return rest
