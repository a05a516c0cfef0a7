# SPDX-License-Identifier: Apache-2.0
"""Postprocessing: from chunks of token ids to responses with text."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tokenizers import Tokenizer

from llm_ensemble.contract.request import Chunk, Part, TextOptions
from llm_ensemble.contract.stream_id import StreamId
from llm_ensemble.errors import EngineError
from llm_ensemble.postprocessing.detokenizer import Detokenizer
from llm_ensemble.postprocessing.stop import StopMatcher

# Asking Triton for a client disconnect costs as much as sending a chunk, so it is done this often.
CHECK_SECONDS = 0.2
# A streaming request is not silent for more than about twice this, whatever holds its text back: before the
# first response Triton's HTTP server does not see that its connection was closed, and proxies close what is
# silent. Less than the engine stage's QUIET_SECONDS, so that each of its empty chunks makes a response.
SILENT_SECONDS = 0.3


@dataclass(frozen=True)
class SequenceText:
    """The part of one sequence in a response.

    text: new text. finish: why the sequence ended, "" if it did not. num_tokens: tokens that the text stands
    for. log_probs: theirs, if requested. cum_log_prob: the sum over the sequence so far.
    """

    text: str
    finish: str
    num_tokens: int
    log_probs: list[float]
    cum_log_prob: float


@dataclass(frozen=True)
class Text:
    """One response: a part a sequence, the prompt's tokens, whether log probabilities are requested."""

    sequences: list[SequenceText]
    num_input_tokens: int
    log_probs: bool


class Report(Protocol):
    """Receives what becomes known of a request (telemetry/request_metrics.py)."""

    def on_response(self, text: Text) -> None:
        """Take a response that is about to be sent."""

    def on_finish(self, finishes: list[str], name: str) -> None:
        """Take the end: the finish reason of each sequence, and the client's request id or the stream's."""


class NullReport:
    """A Report that does nothing."""

    def on_response(self, text: Text) -> None:
        """Do nothing."""

    def on_finish(self, finishes: list[str], name: str) -> None:
        """Do nothing."""


class Postprocessor:
    """The open streams.

    abort: aborts a stream in the engine stage. send_unary: takes the response of a stream that ensemble_unary
    forwarded. report: starts the report on a request.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        abort: Callable[[StreamId], None],
        send_unary: Callable[[StreamId, Text], None],
        report: Callable[[TextOptions], Report] = lambda options: NullReport(),
    ) -> None:
        self._tokenizer = tokenizer
        self._abort = abort
        self._send_unary = send_unary
        self._report = report
        self._streams: dict[int, Completion] = {}

    @property
    def open(self) -> int:
        """The number of streams that have not ended."""
        return len(self._streams)

    def add(
        self, chunk: Chunk, is_disconnected: Callable[[], bool], name: Callable[[], str] = lambda: ""
    ) -> Text | None:
        """Add the next chunk of a stream; return a response if it is time for one.

        is_disconnected: asks Triton for a client disconnect. name: the client's request id.
        Raises EngineError if the engine gave up the stream or a chunk is missing. However a stream ends,
        nothing of it is kept, and chunks after its end are dropped.
        """
        completion = self._streams.pop(chunk.stream, None)
        if chunk.text:
            completion = self._open(chunk, chunk.text)
        if completion is None:
            return None
        finishes = ["error"]
        try:
            response, finishes = completion.advance(chunk, is_disconnected)
        finally:
            if all(finishes) or chunk.last:
                self._close(completion, finishes, name, abort=not chunk.last)
            else:
                self._streams[chunk.stream] = completion
        if response and completion.id.is_unary:
            self._send_unary(completion.id, response)
            return None
        return response

    def _open(self, chunk: Chunk, options: TextOptions) -> Completion:
        return Completion(StreamId(chunk.stream), self._tokenizer, options, self._report(options))

    def _close(
        self, completion: Completion, finishes: list[str], name: Callable[[], str], *, abort: bool
    ) -> None:
        completion.report.on_finish(finishes, name() or f"#{completion.id}")
        if abort:
            self._abort(completion.id)


class Completion:
    """The sequences of one stream, and when they make a response."""

    def __init__(
        self, stream_id: StreamId, tokenizer: Tokenizer, options: TextOptions, report: Report
    ) -> None:
        self.id = stream_id
        self.report = report
        self._options = options
        self._sequences = [Sequence(tokenizer, options) for _ in range(options.num_sequences)]
        self._next_chunk = 0
        self._responded_at = options.arrived
        self._checked_at = -math.inf

    def advance(self, chunk: Chunk, is_disconnected: Callable[[], bool]) -> tuple[Text | None, list[str]]:
        """Add the next chunk; return a response if it is time for one, and each sequence's finish reason.

        A finish reason is "" while the sequence goes on. After a client disconnect there is no response.
        Raises EngineError if a chunk is missing or out of order (garbled text is worse than none), or has an
        error.
        """
        if self._check(is_disconnected):
            return None, ["cancelled"]
        if chunk.error:
            raise EngineError(chunk.error)
        if chunk.number != self._next_chunk:
            raise EngineError(f"stream {self.id}: chunk {chunk.number} came, {self._next_chunk} was due")
        self._next_chunk += 1
        for part in chunk.parts:
            self._sequences[part.index].add(part)
        return self._respond(), self._finishes

    def _check(self, is_disconnected: Callable[[], bool]) -> bool:
        """Return whether the client has disconnected, as of at most CHECK_SECONDS ago."""
        now = time.monotonic()
        if now - self._checked_at < CHECK_SECONDS:
            return False
        self._checked_at = now
        return is_disconnected()

    @property
    def _finishes(self) -> list[str]:
        return [sequence.finish for sequence in self._sequences]

    def _respond(self) -> Text | None:
        """Return what is new; an empty response if a streaming request was silent for long; else None."""
        now = time.monotonic()
        if self._has_news:
            shares = [sequence.take() for sequence in self._sequences]
        elif self._options.stream and now - self._responded_at >= SILENT_SECONDS:
            shares = [sequence.empty for sequence in self._sequences]
        else:
            return None
        self._responded_at = now
        text = Text(shares, self._options.num_input_tokens, self._options.log_probs)
        self.report.on_response(text)
        return text

    @property
    def _has_news(self) -> bool:
        """Whether a streaming request has something new, or a unary request all of its text."""
        if self._options.stream:
            return any(sequence.has_news for sequence in self._sequences)
        return all(self._finishes)


class Sequence:
    """One sequence: detokenizes, matches stop strings, and gathers text until it is taken."""

    def __init__(self, tokenizer: Tokenizer, options: TextOptions) -> None:
        self._detokenizer = Detokenizer(tokenizer)
        self._stop = StopMatcher(options.stop_words)
        self.finish = ""
        self._is_finish_taken = False
        self._text = options.echo
        self._num_tokens = 0
        self._log_probs: list[float] = []
        self._cum_log_prob = 0.0

    @property
    def has_news(self) -> bool:
        """Whether there is text, or a finish reason, that was not taken yet."""
        return bool(self._text) or (bool(self.finish) and not self._is_finish_taken)

    def add(self, part: Part) -> None:
        """Add the next tokens. No-op after the end."""
        if self.finish:
            return
        used, text = self._text_until_stop(part)
        self.finish = "stop" if self._stop.found else part.finish
        self._text += text
        self._num_tokens += used
        self._log_probs += part.log_probs[:used]

    def take(self) -> SequenceText:
        """Return everything new. The finish reason stays in later responses: the last one has them all."""
        self._cum_log_prob += sum(self._log_probs)
        share = SequenceText(self._text, self.finish, self._num_tokens, self._log_probs, self._cum_log_prob)
        self._text, self._num_tokens, self._log_probs = "", 0, []
        self._is_finish_taken = bool(self.finish)
        return share

    @property
    def empty(self) -> SequenceText:
        """The part of a response that stands for no tokens; tokens held back are counted with their text."""
        return SequenceText("", self.finish, 0, [], self._cum_log_prob)

    def _text_until_stop(self, part: Part) -> tuple[int, str]:
        """Return how many tokens were used, and their text.

        With stop strings one token at a time is decoded, so that the count ends with the token that completed
        one, however many tokens the chunk has.
        """
        pieces = []
        at_a_time = 1 if self._stop.words else max(1, len(part.token_ids))
        for begin in range(0, len(part.token_ids), at_a_time):
            ids = part.token_ids[begin : begin + at_a_time]
            pieces.append(self._stop.feed(self._detokenizer.feed(ids)))
            if self._stop.found:
                return begin + 1, "".join(pieces)
        if part.finish:
            pieces.append(self._stop.feed(self._detokenizer.flush()))
            pieces.append("" if self._stop.found else self._stop.flush())
        return len(part.token_ids), "".join(pieces)
