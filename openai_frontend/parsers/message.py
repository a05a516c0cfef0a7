# SPDX-License-Identifier: Apache-2.0
"""The text of one answer as the parts of a message: reasoning first, then content and tool calls."""

from __future__ import annotations

from openai_frontend.parsers.calls import CallParser
from openai_frontend.parsers.delta import CONTENT, REASONING, Delta
from openai_frontend.parsers.reasoning import ReasoningParser


class MessageParser:
    """Reads one answer. reasoning, calls: None where there are none to look for."""

    def __init__(self, reasoning: ReasoningParser | None, calls: CallParser | None) -> None:
        self._reasoning, self._calls = reasoning, calls

    @property
    def has_calls(self) -> bool:
        """Whether a call has begun."""
        return bool(self._calls and self._calls.count)

    def feed(self, text: str) -> list[Delta]:
        """Add text; return what it means, as far as that is certain."""
        if self._reasoning is None:
            return self._content(text)
        reasoning, content = self._reasoning.feed(text)
        return [*_text(REASONING, reasoning), *self._content(content)]

    def flush(self) -> list[Delta]:
        """Return the rest, at the end of the text."""
        reasoning, content = self._reasoning.flush() if self._reasoning else ("", "")
        deltas = [*_text(REASONING, reasoning), *self._content(content)]
        return [*deltas, *self._calls.flush()] if self._calls else deltas

    def _content(self, text: str) -> list[Delta]:
        return self._calls.feed(text) if self._calls else _text(CONTENT, text)


def _text(kind: str, text: str) -> list[Delta]:
    return [Delta(kind, text)] if text else []
