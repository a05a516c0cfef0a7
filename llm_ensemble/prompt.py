# SPDX-License-Identifier: Apache-2.0
"""Preprocessing: from a request's raw fields to token ids and one record. Knows no engine and no Triton."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from llm_ensemble.errors import EngineDirectoryError, RequestError
from llm_ensemble.manifest import TOKENIZER, Manifest
from llm_ensemble.request import Request, TextOptions
from llm_ensemble.sampling import Sampling

Fields = dict[str, Any]  # checked values by field name, absent ones left out
Prepared = tuple[list[int], Request]  # prompt token ids, everything else


def load_tokenizer(engine_dir: Path) -> Tokenizer:
    """Load the engine directory's tokenizer.json; raises EngineDirectoryError when that fails."""
    path = engine_dir / TOKENIZER / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception, for a missing file too
        raise EngineDirectoryError(f"{path} cannot be loaded ({error}): build the engine again") from error


class Preprocessor:
    """Checks prompts against the engine's limits and tokenizes many in one call."""

    def __init__(self, tokenizer: Tokenizer, manifest: Manifest) -> None:
        self._tokenizer = tokenizer
        self._limits = manifest.limits
        self._defaults = manifest.defaults

    def prepare(self, batch: Sequence[Fields]) -> list[Prepared | RequestError]:
        """Prepare each request; one that cannot be served becomes its error, its neighbours are untouched."""
        problems = [_prompt_problem(fields) for fields in batch]
        prompts = [fields["text_input"] for fields, problem in zip(batch, problems) if problem is None]
        encodings = iter(self._tokenizer.encode_batch(prompts))
        return [
            problem or self._prepare_one(fields, next(encodings).ids)
            for fields, problem in zip(batch, problems)
        ]

    def _prepare_one(self, fields: Fields, input_ids: list[int]) -> Prepared | RequestError:
        try:
            max_tokens = self._token_budget(len(input_ids), fields.get("max_tokens"))
        except RequestError as error:
            return error
        text = TextOptions(
            stream=fields.get("stream", False),
            stop_words=fields.get("stop_words", []),
            echo="" if fields.get("exclude_input_in_output", True) else fields["text_input"],
            num_input_tokens=len(input_ids),
        )
        return input_ids, Request(_sampling(fields, max_tokens), text)

    def _token_budget(self, prompt: int, asked: int | None) -> int:
        """Tokens the completion may have: what was asked for, else the default or the room there is."""
        limits = self._limits
        room = limits.max_seq_len - prompt
        if prompt > limits.max_input_len or room < 1:
            longest = min(limits.max_input_len, limits.max_seq_len - 1)
            raise RequestError("text_input", f"{prompt} tokens, at most {longest} fit; shorten the prompt")
        if asked is None:
            return min(self._defaults.max_tokens, room)
        if asked > room:
            raise RequestError(
                "max_tokens",
                f"got {asked}, must be at most {room} here: prompt ({prompt} tokens) and "
                f"completion share max_seq_len {limits.max_seq_len}",
            )
        return asked


def _prompt_problem(fields: Fields) -> RequestError | None:
    if "text_input" not in fields:
        return RequestError("text_input", "missing; send the prompt")
    if not fields["text_input"]:
        return RequestError("text_input", "empty; send at least one character")
    return None


def _sampling(fields: Fields, max_tokens: int) -> Sampling:
    """Greedy unless a sampling field is there; temperature 0 and top_k 1 say greedy in other words.

    Without a seed each request draws its own: engines would otherwise repeat themselves.
    """
    asked = {name: fields[name] for name in ("temperature", "top_p", "top_k") if name in fields}
    if not asked or asked.get("temperature") == 0 or asked.get("top_k") == 1:
        return Sampling(max_tokens=max_tokens)
    seed = fields.get("seed", random.getrandbits(64))
    return Sampling(max_tokens=max_tokens, greedy=False, seed=seed, **asked)
