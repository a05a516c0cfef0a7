# SPDX-License-Identifier: Apache-2.0
"""Responses of the ensemble as pieces of an answer's choices, and their count."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from llm_ensemble_client import Response
from openai_frontend.errors import ApiError, cancelled, timed_out

Arrived = tuple[int, Response]  # the number of a prompt, and a response to it


@dataclass
class Piece:
    """New text of one choice, or all of it. finish: "" while the choice goes on."""

    index: int
    text: str = ""
    finish: str = ""
    log_probs: Any = None

    def add(self, text: str, finish: str) -> None:
        """Append what came next."""
        self.text += text
        self.finish = finish


def pieces(arrived: Iterable[Arrived], sequences: int) -> list[Piece]:
    """Return what has come as one piece a choice. sequences: of each prompt."""
    found: dict[int, Piece] = {}
    for number, response in arrived:
        index = number * sequences
        for text, finish in zip(response.texts, response.finish_reasons):
            if index in found:
                found[index].add(text, finish)
            else:
                found[index] = Piece(index, text, finish)
            index += 1
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

    def content(self) -> dict[str, int]:
        """Return the usage as OpenAI's API has it."""
        prompt = sum(self.prompts.values())
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self.completion,
            "total_tokens": prompt + self.completion,
        }
