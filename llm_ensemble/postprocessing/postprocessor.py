# SPDX-License-Identifier: Apache-2.0
"""Postprocessing: from chunks of token ids to responses with text."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tokenizers import Tokenizer

from llm_ensemble.contract.request import Chunk, TextOptions
from llm_ensemble.contract.stream_id import StreamId
from llm_ensemble.errors import EngineError
from llm_ensemble.postprocessing.sequence import Sequence, SequenceText

# A streaming request is not silent for more than about twice this, whatever holds its text back: before the
# first response Triton's HTTP server does not see that its connection was closed, and proxies close what is
# silent. Less than the engine stage's QUIET_SECONDS, so that each of its empty chunks makes a response.
SILENT_SECONDS = 0.3


@dataclass(frozen=True)
class Text:
    """One response: a part a sequence, the prompt's tokens, whether log probabilities are requested, and of
    how many most probable tokens."""

    sequences: list[SequenceText]
    num_input_tokens: int
    log_probs: bool
    top_log_probs: int = 0


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


class Reply(Protocol):
    """The way to respond to a stream's request."""

    def send(self, text: Text | None, *, last: bool) -> None:
        """Send a response. None: there is none, only the end. last: the request ends with it."""

    def fail(self, error: Exception) -> None:
        """End the request with an error."""


class Postprocessor:
    """The open streams. Several threads may use it, but one stream's chunks come from one thread.

    abort: aborts a stream in the engine stage. report: starts the report on a request.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        abort: Callable[[StreamId], None],
        report: Callable[[TextOptions], Report] = lambda options: NullReport(),
    ) -> None:
        self._tokenizer = tokenizer
        self._abort = abort
        self._report = report
        self._streams: dict[int, Completion] = {}

    @property
    def open(self) -> int:
        """The number of streams that have not ended."""
        return len(self._streams)

    def begin(
        self,
        stream_id: StreamId,
        options: TextOptions,
        reply: Reply,
        name: str = "",
        claim: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin a stream. name: the client's request id. claim: asks for the stream's chunks.

        A second stream of an id ends with an error, and the first goes on.
        """
        if stream_id in self._streams:
            reply.fail(EngineError(f"stream {stream_id} began before"))
            return
        completion = Completion(stream_id, self._tokenizer, options, self._report(options), reply, name)
        self._streams[stream_id] = completion
        try:
            claim()
        except Exception as error:
            reply.fail(error)
            self._end(completion, ["error"], abort=True)

    def add(self, chunk: Chunk) -> None:
        """Add the next chunk of a stream; respond if it is time for it, and end the request with the stream.

        However a stream ends, nothing of it is kept, and chunks after its end are dropped.
        """
        completion = self._streams.get(chunk.stream)
        if completion is None:
            return
        finishes = ["error"]
        try:
            text, finishes = completion.advance(chunk)
            is_over = chunk.last or all(finishes)
            if text or is_over:
                completion.reply.send(text, last=is_over)
        except Exception as error:
            is_over = True
            completion.reply.fail(error)
        finally:
            if is_over:
                self._end(completion, finishes, abort=not chunk.last)

    def fail(self, stream_id: StreamId, error: Exception) -> None:
        """End a stream with an error, in any thread. No-op if it has ended."""
        if completion := self._streams.get(stream_id):
            completion.reply.fail(error)
            self._end(completion, ["error"], abort=True)

    def forget(self, stream_id: StreamId) -> None:
        """Drop a stream that was rejected: it is neither answered nor counted here."""
        self._streams.pop(stream_id, None)

    def _end(self, completion: Completion, finishes: list[str], *, abort: bool) -> None:
        if self._streams.pop(completion.id, None) is None:
            return
        completion.report.on_finish(finishes, completion.name or f"#{completion.id}")
        if abort:
            self._abort(completion.id)


class Completion:
    """The sequences of one stream, and when they make a response."""

    def __init__(
        self,
        stream_id: StreamId,
        tokenizer: Tokenizer,
        options: TextOptions,
        report: Report,
        reply: Reply,
        name: str,
    ) -> None:
        self.id = stream_id
        self.report = report
        self.reply = reply
        self.name = name
        self._options = options
        self._sequences = [Sequence(tokenizer, options) for _ in range(options.num_sequences)]
        self._responded_at = options.arrived

    def advance(self, chunk: Chunk) -> tuple[Text | None, list[str]]:
        """Add the next chunk; return a response if it is time for one, and each sequence's finish reason.

        A finish reason is "" while the sequence goes on. Raises EngineError or RequestError if the chunk has
        an error or a refusal.
        """
        if chunk.refusal:
            raise chunk.refusal.error
        if chunk.error:
            raise EngineError(chunk.error)
        for part in chunk.parts:
            self._sequences[part.index].add(part)
        return self._respond(), self._finishes

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
        options = self._options
        text = Text(shares, options.num_input_tokens, options.log_probs, options.top_log_probs)
        self.report.on_response(text)
        return text

    @property
    def _has_news(self) -> bool:
        """Whether a streaming request has something new, or a unary request all of its text."""
        if self._options.stream:
            return any(sequence.has_news for sequence in self._sequences)
        return all(self._finishes)
