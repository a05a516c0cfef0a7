# SPDX-License-Identifier: Apache-2.0
"""Responses of the ensemble as pieces of an answer's choices, and their count."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from openai_frontend.errors import ApiError, cancelled, timed_out
from openai_frontend.generation.asking import Arrived
from openai_frontend.generation.log_probs import Score, scores


@dataclass
class Piece:
    """New text of a choice, or all of it. finish: "" while it goes on. scores: None if not asked for."""

    index: int
    text: str = ""
    finish: str = ""
    scores: list[Score] | None = None

    def add(self, text: str, finish: str, scores: list[Score] | None) -> None:
        """Append what came next."""
        self.text += text
        self.finish = finish
        if self.scores is not None:
            self.scores += scores or []


def pieces(arrived: Iterable[Arrived], sequences: int) -> list[Piece]:
    """Return what has come as one piece a choice. sequences: of each prompt."""
    found: dict[int, Piece] = {}
    for number, response in arrived:
        for sequence, text in enumerate(response.texts):
            index = number * sequences + sequence
            news = text, response.finish_reasons[sequence], scores(response, sequence)
            if index in found:
                found[index].add(*news)
            else:
                found[index] = Piece(index, *news)
    return [*found.values()]


def failure(piece: Piece) -> ApiError | None:
    """Return the error of a choice that did not end by itself; None for any other."""
    if piece.finish == "timeout":
        return timed_out()
    return cancelled() if piece.finish == "cancelled" else None


@dataclass
class Usage:
    """The tokens of a request: of each prompt, and of all completions."""

    prompts: dict[int, int] = field(default_factory=dict)
    completion: int = 0

    def add(self, arrived: Iterable[Arrived]) -> None:
        """Count responses."""
        for number, response in arrived:
            self.prompts[number] = response.num_input_tokens
            self.completion += response.num_output_tokens

    @property
    def prompt(self) -> int:
        """Tokens of all prompts."""
        return sum(self.prompts.values())

    def content(self) -> dict[str, int]:
        """Return the usage as OpenAI's API has it."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        }
