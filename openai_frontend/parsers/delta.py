# SPDX-License-Identifier: Apache-2.0
"""What a piece of text means: the parts of a message, as they come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

CONTENT, REASONING, CALL, ARGUMENTS = "content", "reasoning_content", "call", "arguments"


class Delta(NamedTuple):
    """A part of a message.

    kind: of the four above. text: of a CALL the name of the tool. number: of the call, counted from 0.
    call_id: of a CALL.
    """

    kind: str
    text: str
    number: int = 0
    call_id: str = ""

    @property
    def content(self) -> dict[str, Any]:
        """The delta as OpenAI's API streams it."""
        if self.kind == CALL:
            function = {"name": self.text, "arguments": ""}
            call = {"index": self.number, "id": self.call_id, "type": "function", "function": function}
            return {"tool_calls": [call]}
        if self.kind == ARGUMENTS:
            return {"tool_calls": [{"index": self.number, "function": {"arguments": self.text}}]}
        return {self.kind: self.text}


def message(deltas: Iterable[Delta]) -> dict[str, Any]:
    """Return the assistant's message that deltas add up to, as OpenAI's API has it."""
    texts = {CONTENT: "", REASONING: ""}
    calls: list[dict[str, Any]] = []
    for delta in deltas:
        if delta.kind == CALL:
            function = {"name": delta.text, "arguments": ""}
            calls.append({"id": delta.call_id, "type": "function", "function": function})
        elif delta.kind == ARGUMENTS:
            calls[delta.number]["function"]["arguments"] += delta.text
        else:
            texts[delta.kind] += delta.text
    content = None if calls and not texts[CONTENT] else texts[CONTENT]
    whole: dict[str, Any] = {"role": "assistant", CONTENT: content, "refusal": None}
    if texts[REASONING]:
        whole[REASONING] = texts[REASONING]
    return {**whole, "tool_calls": calls} if calls else whole
