# SPDX-License-Identifier: Apache-2.0
"""The answer of a model that reasons or calls tools: its text, read by a parser a choice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from openai_frontend.generation.answer import ChatAnswer, encode
from openai_frontend.generation.pieces import Piece
from openai_frontend.parsers.delta import Delta, message
from openai_frontend.parsers.message import MessageParser

CALLED = "tool_calls"


class ParsedChatAnswer(ChatAnswer):
    """Of /v1/chat/completions. make_parser: makes the parser of a choice."""

    def __init__(self, *given: Any, make_parser: Callable[[], MessageParser], **options: Any) -> None:
        super().__init__(*given, **options)
        self._make_parser = make_parser
        self._parsers: dict[int, MessageParser] = {}

    def delta(self, piece: Piece) -> bytes:
        """Return the events of what new text means; what may yet mean something else waits."""
        deltas = self._parser(piece).feed(piece.text)
        if not deltas and piece.scores:  # which do not wait
            return self._event(piece, {}, self._log_probs(piece))
        return self._events(piece, deltas, self._log_probs(piece))

    def ending(self, piece: Piece) -> bytes:
        """Return the events of what has waited, and that with the finish reason."""
        parser = self._parser(piece)
        rest = self._events(piece, parser.flush(), b"null")
        return rest + super().ending(Piece(piece.index, finish=_finish(piece, parser)))

    def _parser(self, piece: Piece) -> MessageParser:
        if piece.index not in self._parsers:
            self._parsers[piece.index] = self._make_parser()
        return self._parsers[piece.index]

    def _events(self, piece: Piece, deltas: Iterable[Delta], log_probs: bytes) -> bytes:
        """Return the events of deltas, the first of which has the log probabilities."""
        events = b""
        for delta in deltas:
            events += self._event(piece, delta.content, log_probs)
            log_probs = b"null"
        return events

    def _event(self, piece: Piece, delta: dict[str, Any], log_probs: bytes) -> bytes:
        content = b'"delta":' + encode(delta) + b',"logprobs":' + log_probs
        return self._begin % piece.index + content + b',"finish_reason":' + self._running

    def _choice(self, choice: Piece) -> dict[str, Any]:
        parser = self._make_parser()
        deltas = [*parser.feed(choice.text), *parser.flush()]
        finish = _finish(choice, parser)
        return {"message": message(deltas), "logprobs": self._scored(choice), "finish_reason": finish}


def _finish(piece: Piece, parser: MessageParser) -> str:
    """Return the finish reason. An answer that was cut off stays that, calls or not."""
    return CALLED if piece.finish == "stop" and parser.has_calls else piece.finish
