# SPDX-License-Identifier: Apache-2.0
"""The answers of both calls: whole, or as events.

An event is put together of bytes that were made once a request, and of the new text: the streams of a busy
server have thousands of them a second.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec

from llm_ensemble.contract.token_bytes import TokenBytes
from openai_frontend.generation.log_probs import CompletionLogProbs, chat_log_probs
from openai_frontend.generation.pieces import Piece, Usage

DONE = b"data: [DONE]\n\n"
encode = msgspec.json.Encoder().encode


class Answer:
    """The answer to one request: its head and the form of its choices.

    bytes_of: gives a token's bytes. has_usage: whether a stream ends with the usage; then every event has the
    key. has_top: whether the most probable tokens at each place are asked for.
    """

    prefix = kind = event_kind = ""

    def __init__(
        self, model: str, fingerprint: str, bytes_of: TokenBytes, *, has_usage: bool, has_top: bool
    ) -> None:
        self._head = {
            "id": f"{self.prefix}-{uuid.uuid4().hex}",
            "object": self.kind,
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": fingerprint,
        }
        self._bytes_of, self._has_usage, self._has_top = bytes_of, has_usage, has_top
        event = encode({**self._head, "object": self.event_kind})
        self._begin = b"data: " + event[:-1] + b',"choices":[{"index":%d,'
        self._end = b"}]" + (b',"usage":null' if has_usage else b"") + b"}\n\n"
        self._running = b"null" + self._end  # behind "finish_reason":

    def whole(self, choices: Sequence[Piece], usage: Usage) -> bytes:
        """Return the answer that is not streamed."""
        contents = [{"index": choice.index, **self._choice(choice)} for choice in choices]
        return encode({**self._head, "choices": contents, "usage": usage.content()})

    def opening(self, index: int, echo: str) -> bytes:
        """Return the events with which a choice begins. echo: the prompt, if the text begins with it."""
        raise NotImplementedError

    def delta(self, piece: Piece) -> bytes:
        """Return the event of new text."""
        raise NotImplementedError

    def ending(self, piece: Piece) -> bytes:
        """Return the event with which a choice ends."""
        raise NotImplementedError

    def closing(self, usage: Usage) -> bytes:
        """Return the last events."""
        if not self._has_usage:
            return DONE
        content = {**self._head, "object": self.event_kind, "choices": [], "usage": usage.content()}
        return b"data: " + encode(content) + b"\n\n" + DONE

    def _choice(self, choice: Piece) -> dict[str, Any]:
        """Return a choice without its index."""
        raise NotImplementedError

    def _scored(self, piece: Piece) -> dict[str, Any] | None:
        """Return the log probabilities of a piece; None if they were not asked for."""
        raise NotImplementedError

    def _log_probs(self, piece: Piece) -> bytes:
        return b"null" if piece.scores is None else encode(self._scored(piece))


class ChatAnswer(Answer):
    """Of /v1/chat/completions."""

    prefix, kind, event_kind = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def opening(self, index: int, echo: str) -> bytes:
        """Return the event with the role."""
        delta = b'"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":'
        return self._begin % index + delta + self._running

    def delta(self, piece: Piece) -> bytes:
        """Return the event of new text."""
        text = b'"delta":{"content":' + encode(piece.text) + b'},"logprobs":'
        return (
            self._begin % piece.index + text + self._log_probs(piece) + b',"finish_reason":' + self._running
        )

    def ending(self, piece: Piece) -> bytes:
        """Return the event with the finish reason."""
        reason = b'"delta":{},"logprobs":null,"finish_reason":' + encode(piece.finish)
        return self._begin % piece.index + reason + self._end

    def _choice(self, choice: Piece) -> dict[str, Any]:
        message = {"role": "assistant", "content": choice.text, "refusal": None}
        return {"message": message, "logprobs": self._scored(choice), "finish_reason": choice.finish}

    def _scored(self, piece: Piece) -> dict[str, Any] | None:
        return None if piece.scores is None else chat_log_probs(piece.scores, self._bytes_of)


class CompletionAnswer(Answer):
    """Of /v1/completions."""

    prefix, kind, event_kind = "cmpl", "text_completion", "text_completion"

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._begun: dict[int, CompletionLogProbs] = {}  # of each choice

    def opening(self, index: int, echo: str) -> bytes:
        """Return the event with the prompt, if the text begins with it."""
        return self.delta(Piece(index, echo)) if echo else b""

    def delta(self, piece: Piece) -> bytes:
        """Return the event of new text."""
        text = b'"text":' + encode(piece.text) + b',"logprobs":' + self._log_probs(piece)
        return self._begin % piece.index + text + b',"finish_reason":' + self._running

    def ending(self, piece: Piece) -> bytes:
        """Return the event with the finish reason."""
        reason = b'"text":"","logprobs":null,"finish_reason":' + encode(piece.finish)
        return self._begin % piece.index + reason + self._end

    def _choice(self, choice: Piece) -> dict[str, Any]:
        return {"text": choice.text, "logprobs": self._scored(choice), "finish_reason": choice.finish}

    def _scored(self, piece: Piece) -> dict[str, Any] | None:
        if piece.scores is None:
            return None
        if piece.index not in self._begun:
            self._begun[piece.index] = CompletionLogProbs(self._bytes_of)
        return self._begun[piece.index].next(piece.scores, self._has_top)
