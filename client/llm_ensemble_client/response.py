# SPDX-License-Identifier: Apache-2.0
"""Responses of a request, and the completion made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from llm_ensemble_client.errors import ServerError

Outputs = Mapping[str, Any]  # by name: a value, or a flat list of values, row by row


Numbers = tuple[tuple[float, ...], ...]  # for each sequence, of each token
Ids = tuple[tuple[int, ...], ...]
NO_ID = -1  # with which the server pads ids of a sequence that has fewer tokens than another


@dataclass(frozen=True)
class Completion:
    """The completion of a request.

    text: the generated text, of the first sequence
    finish_reason: stop, length, timeout or cancelled, of the first sequence
    num_input_tokens: tokens of the prompt, special tokens included
    num_output_tokens: generated tokens of all sequences, without end tokens
    texts, finish_reasons: one for each sequence
    cum_log_probs: the sum of log probabilities of each sequence (natural logarithm); None unless
        return_log_probs was set
    output_log_probs: for each sequence the log probability of each token; None unless return_log_probs was
        set
    output_token_ids: likewise, the id of each token
    top_token_ids, top_token_log_probs: for each sequence and token the ids of the most probable tokens at its
        place, and their log probabilities; None unless top_log_probs was set
    """

    text: str
    finish_reason: str
    num_input_tokens: int
    num_output_tokens: int
    texts: tuple[str, ...]
    finish_reasons: tuple[str, ...]
    cum_log_probs: tuple[float, ...] | None = None
    output_log_probs: Numbers | None = None
    output_token_ids: Ids | None = None
    top_token_ids: tuple[Ids, ...] | None = None
    top_token_log_probs: tuple[Numbers, ...] | None = None


class Response(NamedTuple):  # a frozen dataclass would take five times as long to make
    """One response: of a unary request the only one, of a stream the part since the previous one.

    Its values are those of Completion, of this part: an item a sequence, num_output_tokens and rows of the
    tokens since the previous response. cum_log_probs are of the whole sequences so far.
    """

    texts: tuple[str, ...]
    finish_reasons: tuple[str, ...]  # "" while a sequence runs
    num_input_tokens: int
    num_output_tokens: int
    cum_log_probs: tuple[float, ...] | None = None
    output_log_probs: Numbers | None = None
    output_token_ids: Ids | None = None
    top_token_ids: tuple[Ids, ...] | None = None
    top_token_log_probs: tuple[Numbers, ...] | None = None

    @property
    def is_last(self) -> bool:
        """Whether every sequence has ended."""
        return all(self.finish_reasons)


def read_response(outputs: Outputs) -> Response:
    """Return the response in the outputs. Raise ServerError if an output is missing or malformed."""
    try:
        texts = tuple(_list(outputs["text_output"]))
        return Response(
            texts,
            tuple(_list(outputs["finish_reason"])),
            _list(outputs["num_input_tokens"])[0],
            _list(outputs["num_output_tokens"])[0],
            *(_scores(outputs, len(texts)) if "output_log_probs" in outputs else ()),
        )
    except (LookupError, TypeError, ZeroDivisionError) as error:
        raise ServerError(f"not an answer of an llm-ensemble server: {sorted(outputs)}") from error


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _scores(outputs: Outputs, sequences: int) -> tuple[Any, ...]:
    """Return what is there only if log probabilities were requested, from cum_log_probs on."""
    ids = _rows(_list(outputs["output_token_ids"]), sequences)
    lengths = [len(row) - row.count(NO_ID) for row in ids]

    def unpadded(name: str) -> Any:
        return tuple(row[:length] for row, length in zip(_rows(_list(outputs[name]), sequences), lengths))

    def by_token(name: str) -> Any:
        if name not in outputs:
            return None
        rows, tokens = _rows(_list(outputs[name]), sequences), len(ids[0])
        each = [_rows(list(row), tokens) for row in rows]
        return tuple(of_tokens[:length] for of_tokens, length in zip(each, lengths))

    return (
        tuple(_list(outputs["cum_log_probs"])),
        unpadded("output_log_probs"),
        unpadded("output_token_ids"),
        by_token("top_token_ids"),
        by_token("top_token_log_probs"),
    )


def _rows(flat: list[Any], count: int) -> tuple[tuple[Any, ...], ...]:
    """Return so many rows of equal length, of a flat list."""
    length = len(flat) // count if count else 0
    return tuple(tuple(flat[i * length : (i + 1) * length]) for i in range(count))


class CompletionBuilder:
    """Collects the responses of one request."""

    def __init__(self) -> None:
        self._responses: list[Response] = []

    def add(self, response: Response) -> None:
        """Append a response."""
        self._responses.append(response)

    @property
    def completion(self) -> Completion | None:
        """The completion; None until the last response has been added."""
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
            output_log_probs=self._joined("output_log_probs"),
            output_token_ids=self._joined("output_token_ids"),
            top_token_ids=self._joined("top_token_ids"),
            top_token_log_probs=self._joined("top_token_log_probs"),
        )

    def _joined(self, name: str) -> Any:
        """Return the rows of all responses, joined sequence by sequence."""
        rows = [rows for response in self._responses if (rows := getattr(response, name))]
        if not rows:
            return None
        return tuple(tuple(x for part in parts for x in part) for parts in zip(*rows))


def completion_from(response: Response) -> Completion:
    """Return the completion in the response of a unary request. Raise ServerError if it is not final."""
    gathered = CompletionBuilder()
    gathered.add(response)
    if gathered.completion is None:
        raise ServerError("the server's response is not final")
    return gathered.completion
