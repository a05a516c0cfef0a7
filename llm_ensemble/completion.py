# SPDX-License-Identifier: Apache-2.0
"""Postprocessing: from a stream's chunks of token ids to text. Knows no Triton."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tokenizers import Tokenizer

from llm_ensemble.detokenizer import Detokenizer
from llm_ensemble.errors import EngineError
from llm_ensemble.request import CHOSEN, Chunk, Part, TextOptions
from llm_ensemble.stop import StopMatcher

# Asking Triton whether a client is still there costs as much as sending a chunk. So it is asked now and then.
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class SequenceText:
    """One sequence's share of a response: new text, why it ended ("" if it did not), the tokens' share.

    num_tokens: tokens the text stands for. log_probs: theirs, if asked for. cum_log_prob: of all so far.
    """

    text: str
    finish: str
    num_tokens: int
    log_probs: list[float]
    cum_log_prob: float


@dataclass(frozen=True)
class Text:
    """One response: each sequence's share, the prompt's tokens, whether log probabilities are wanted."""

    sequences: list[SequenceText]
    num_input_tokens: int
    log_probs: bool


class Report(Protocol):
    """What becomes known of a request on its way (request_report.py)."""

    def gave(self, text: Text) -> None:
        """A response is given out."""

    def ended(self, finishes: list[str], name: str) -> None:
        """Nothing more comes; finishes: why the request's sequences ended, name: the client's or a number."""


class NoReport:
    """Where nobody measures."""

    def gave(self, text: Text) -> None:
        """Nothing."""

    def ended(self, finishes: list[str], name: str) -> None:
        """Nothing."""


class Postprocessor:
    """The open streams.

    abort: tells the engine that a stream's rest is not wanted. answer: takes the response of a stream whose
    number ensemble_unary chose. report: begins a request's.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        abort: Callable[[int], None],
        answer: Callable[[int, Text], None],
        report: Callable[[TextOptions], Report] = lambda options: NoReport(),
    ) -> None:
        self._tokenizer = tokenizer
        self._abort = abort
        self._answer = answer
        self._report = report
        self._streams: dict[int, Completion] = {}

    @property
    def open(self) -> int:
        """Streams that have not ended."""
        return len(self._streams)

    def add(
        self, chunk: Chunk, client_left: Callable[[], bool], name: Callable[[], str] = lambda: ""
    ) -> Text | None:
        """Take a stream's next chunk; return a response when it is time for one.

        client_left: asks Triton, at some cost. name: asks for the client's for the request.
        Raises EngineError when the engine gave the stream up or a chunk is missing. However a stream
        ends, nothing of it is kept; what the engine sends after that is dropped.
        """
        completion = self._streams.pop(chunk.stream, None)
        if chunk.text:
            completion = Completion(self._tokenizer, chunk.text, self._report(chunk.text))
        if completion is None:
            return None
        wanted, finishes = False, ["error"]
        try:
            left = completion.look(client_left)
            response = None if left else completion.add(chunk)
            finishes = ["cancelled"] if left else completion.finishes
            wanted = not all(finishes)
        finally:
            if wanted and not chunk.last:
                self._streams[chunk.stream] = completion
            else:
                completion.report.ended(finishes, name() or f"#{chunk.stream}")
                if not chunk.last:
                    self._abort(chunk.stream)
        if response and chunk.stream >= CHOSEN:
            self._answer(chunk.stream, response)
            return None
        return response


class Completion:
    """One request's way from ids to text: its sequences, and when they make a response."""

    def __init__(self, tokenizer: Tokenizer, options: TextOptions, report: Report) -> None:
        self.report = report
        self._options = options
        self._sequences = [Sequence(tokenizer, options) for _ in range(options.num_sequences)]
        self._next_chunk = 0
        self._answered = False
        self._looked_at = -math.inf

    def look(self, client_left: Callable[[], bool]) -> bool:
        """Whether the client has left, as far as it is time to ask."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            return False
        self._looked_at = now
        return client_left()

    def add(self, chunk: Chunk) -> Text | None:
        """Take the next chunk; return a response when it is time for one.

        Raises EngineError when a chunk is missing or out of order (a garbled text is worse than none) or
        brings the engine's own error.
        """
        if chunk.error:
            raise EngineError(chunk.error)
        if chunk.number != self._next_chunk:
            raise EngineError(f"stream {chunk.stream}: chunk {chunk.number} came, {self._next_chunk} was due")
        self._next_chunk += 1
        for part in chunk.parts:
            self._sequences[part.index].add(part)
        return self._give(bool(chunk.parts))

    @property
    def finishes(self) -> list[str]:
        """Why each sequence has ended, "" for one that has not."""
        return [sequence.finish for sequence in self._sequences]

    def _give(self, parts: bool) -> Text | None:
        """A stream gives new text as it comes; a plain request, everything at its end.

        A stream that has waited long for its first text is given an empty one: before the first response
        Triton's HTTP server does not look whether its client is still there.
        """
        news = any(sequence.has_news for sequence in self._sequences) or not (parts or self._answered)
        if not ((self._options.stream and news) or all(self.finishes)):
            return None
        self._answered = True
        shares = [sequence.give() for sequence in self._sequences]
        text = Text(shares, self._options.num_input_tokens, self._options.log_probs)
        self.report.gave(text)
        return text


class Sequence:
    """One sequence: detokenize, look for stop strings, gather until it is given out."""

    def __init__(self, tokenizer: Tokenizer, options: TextOptions) -> None:
        self._detokenizer = Detokenizer(tokenizer)
        self._stop = StopMatcher(options.stop_words)
        self.finish = ""
        self._told_finish = False
        self._text = options.echo
        self._num_tokens = 0
        self._log_probs: list[float] = []
        self._cum_log_prob = 0.0

    @property
    def has_news(self) -> bool:
        """Whether there is text to give, or an end that was not told yet."""
        return bool(self._text) or (bool(self.finish) and not self._told_finish)

    def add(self, part: Part) -> None:
        """Take the next tokens; what comes after the end is dropped."""
        if self.finish:
            return
        used, text = self._text_until_stop(part)
        self.finish = "stop" if self._stop.found else part.finish
        self._text += text
        self._num_tokens += used
        self._log_probs += part.log_probs[:used]
        self._cum_log_prob += sum(part.log_probs[:used])

    def give(self) -> SequenceText:
        """Everything new. The finish is said again in later responses: the last one has them all."""
        share = SequenceText(self._text, self.finish, self._num_tokens, self._log_probs, self._cum_log_prob)
        self._text, self._num_tokens, self._log_probs = "", 0, []
        self._told_finish = bool(self.finish)
        return share

    def _text_until_stop(self, part: Part) -> tuple[int, str]:
        """Tokens used and their text.

        With stop strings one token at a time, so that usage ends with the token that completed one, however
        many tokens the chunk brought.
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
