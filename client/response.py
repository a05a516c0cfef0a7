# SPDX-License-Identifier: Apache-2.0
"""What a server answers, one response at a time, and the completion they make up together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from client.errors import ServerError

Outputs = Mapping[str, Any]  # by output name: a value, or a list of them, rows after one another


@dataclass(frozen=True)
class Completion:
    """A whole answer.

    text: the completion (of the first sequence, if several were asked for)
    finish_reason: stop, length, timeout or cancelled (of the first sequence)
    num_input_tokens: tokens of the prompt, special ones included
    num_output_tokens: tokens made, over all sequences, the end token not counted
    texts, finish_reasons: one a sequence
    cum_log_probs: one a sequence, of all its tokens; None unless return_log_probs was asked for
    output_log_probs: a row a sequence, a number a token; else None. Of several sequences a row that
        ends in certain tokens, with a log probability of exactly 0, is without these
    """

    text: str
    finish_reason: str
    num_input_tokens: int
    num_output_tokens: int
    texts: tuple[str, ...]
    finish_reasons: tuple[str, ...]
    cum_log_probs: tuple[float, ...] | None = None
    output_log_probs: tuple[tuple[float, ...], ...] | None = None


@dataclass(frozen=True)
class Response:
    """One response of a request: all of it, or what a stream made since the one before."""

    texts: tuple[str, ...]
    finish_reasons: tuple[str, ...]  # "" while a sequence goes on
    num_input_tokens: int
    num_output_tokens: int
    cum_log_probs: tuple[float, ...] | None
    output_log_probs: tuple[tuple[float, ...], ...] | None

    @property
    def is_last(self) -> bool:
        """Whether every sequence has ended."""
        return all(self.finish_reasons)


def read_response(outputs: Outputs) -> Response:
    """Read one response. Raises ServerError when it is not what our server sends."""
    try:
        texts = tuple(_list(outputs["text_output"]))
        return Response(
            texts=texts,
            finish_reasons=tuple(_list(outputs["finish_reason"])),
            num_input_tokens=_list(outputs["num_input_tokens"])[0],
            num_output_tokens=_list(outputs["num_output_tokens"])[0],
            cum_log_probs=tuple(_list(outputs["cum_log_probs"])) if "cum_log_probs" in outputs else None,
            output_log_probs=_rows(outputs.get("output_log_probs"), len(texts)),
        )
    except (LookupError, TypeError) as error:
        raise ServerError(f"not an answer of an llm-ensemble server: {sorted(outputs)}") from error


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _rows(values: Any, sequences: int) -> tuple[tuple[float, ...], ...] | None:
    """Rows of one length, which lie after one another."""
    if values is None:
        return None
    flat = _list(values)
    length = len(flat) // sequences
    rows = [flat[i * length : (i + 1) * length] for i in range(sequences)]
    return tuple(_unfilled(row) if sequences > 1 else tuple(row) for row in rows)


def _unfilled(row: list[float]) -> tuple[float, ...]:
    """Without the zeros that make up for a longer neighbour. Of one sequence a zero is a certain token."""
    length = max((i + 1 for i, value in enumerate(row) if value), default=0)
    return tuple(row[:length])


class Gathered:
    """The responses of one request so far."""

    def __init__(self) -> None:
        self._responses: list[Response] = []

    def add(self, response: Response) -> None:
        """Take one more."""
        self._responses.append(response)

    @property
    def completion(self) -> Completion | None:
        """The whole answer, once the last response is there."""
        if not self._responses or not self._responses[-1].is_last:
            return None
        last = self._responses[-1]
        texts = tuple(map("".join, zip(*(response.texts for response in self._responses))))
        return Completion(
            text=texts[0],
            finish_reason=last.finish_reasons[0],
            num_input_tokens=last.num_input_tokens,
            num_output_tokens=sum(response.num_output_tokens for response in self._responses),
            texts=texts,
            finish_reasons=last.finish_reasons,
            cum_log_probs=last.cum_log_probs,
            output_log_probs=self._log_probs(),
        )

    def _log_probs(self) -> tuple[tuple[float, ...], ...] | None:
        rows = [response.output_log_probs for response in self._responses if response.output_log_probs]
        if not rows:
            return None
        return tuple(tuple(x for part in parts for x in part) for parts in zip(*rows))


def completion_of(response: Response) -> Completion:
    """The answer that is one response. Raises ServerError when it is none."""
    gathered = Gathered()
    gathered.add(response)
    if gathered.completion is None:
        raise ServerError("the answer of the server has no end")
    return gathered.completion
