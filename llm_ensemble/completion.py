# SPDX-License-Identifier: Apache-2.0
"""Postprocessing: from a stream's chunks of token ids to text. Knows no Triton."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tokenizers import Tokenizer

from llm_ensemble.detokenizer import Detokenizer
from llm_ensemble.errors import EngineError
from llm_ensemble.request import Chunk, TextOptions
from llm_ensemble.stop import StopMatcher


@dataclass(frozen=True)
class Text:
    """One response: new text, why it ended ("" if it did not), prompt tokens, tokens this text stands for."""

    text: str
    finish: str
    num_input_tokens: int
    num_output_tokens: int


class Postprocessor:
    """The open streams. abort: tells the engine that a stream's rest is not wanted."""

    def __init__(self, tokenizer: Tokenizer, abort: Callable[[int], None]) -> None:
        self._tokenizer = tokenizer
        self._abort = abort
        self._open: dict[int, Completion] = {}

    def add(self, chunk: Chunk, client_left: bool) -> Text | None:
        """Take a stream's next chunk; return a response when it is time for one.

        Raises EngineError when the engine gave the stream up or a chunk is missing. However a stream
        ends, nothing of it is kept; what the engine sends after that is dropped.
        """
        completion = self._open.pop(chunk.stream, None)
        if chunk.text:
            completion = Completion(self._tokenizer, chunk.text)
        if completion is None:
            return None
        response = None if client_left else completion.add(chunk)
        if chunk.finish:
            return response
        if client_left or completion.ended:
            self._abort(chunk.stream)
        else:
            self._open[chunk.stream] = completion
        return response


class Completion:
    """One request's way from ids to text: detokenize, look for stop strings, gather when not streamed."""

    def __init__(self, tokenizer: Tokenizer, options: TextOptions) -> None:
        self._options = options
        self._detokenizer = Detokenizer(tokenizer)
        self._stop = StopMatcher(options.stop_words)
        self._next_sequence = 0
        self._ready = Text(options.echo, "", options.num_input_tokens, 0)

    def add(self, chunk: Chunk) -> Text | None:
        """Take the next chunk; return a response when it is time for one.

        Raises EngineError when a chunk is missing or out of order (a garbled text is worse than none) or
        brings the engine's own error.
        """
        if chunk.error:
            raise EngineError(chunk.error)
        if chunk.sequence != self._next_sequence:
            raise EngineError(
                f"stream {chunk.stream}: chunk {chunk.sequence} came, {self._next_sequence} was due"
            )
        self._next_sequence += 1
        self._take(chunk)
        return self._give()

    @property
    def ended(self) -> bool:
        """Whether the last response was the last."""
        return bool(self._ready.finish)

    def _take(self, chunk: Chunk) -> None:
        used, text = self._text_until_stop(chunk)
        finish = "stop" if self._stop.found else chunk.finish
        ready = self._ready
        self._ready = replace(
            ready, text=ready.text + text, finish=finish, num_output_tokens=ready.num_output_tokens + used
        )

    def _text_until_stop(self, chunk: Chunk) -> tuple[int, str]:
        """Tokens used and their text.

        One token at a time, so that usage ends with the token that completed a stop string, however many
        tokens the chunk brought.
        """
        pieces = []
        for used, token_id in enumerate(chunk.token_ids, 1):
            pieces.append(self._stop.feed(self._detokenizer.feed([token_id])))
            if self._stop.found:
                return used, "".join(pieces)
        if chunk.finish:
            pieces.append(self._stop.feed(self._detokenizer.flush()))
            pieces.append(self._stop.flush())
        return len(chunk.token_ids), "".join(pieces)

    def _give(self) -> Text | None:
        """A stream gives new text as it comes; a plain request, everything at its end."""
        ready = self._ready
        if not ready.finish and not (self._options.stream and ready.text):
            return None
        self._ready = replace(ready, text="", num_output_tokens=0)
        return ready
