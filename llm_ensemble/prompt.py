# SPDX-License-Identifier: Apache-2.0
"""Preprocessing: from a request's raw fields to token ids and one record. Knows no engine and no Triton."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from tokenizers import Tokenizer

from llm_ensemble.chat import ChatTemplate
from llm_ensemble.errors import EngineDirectoryError, EnsembleError, RequestError
from llm_ensemble.fields import Fields
from llm_ensemble.manifest import TOKENIZER, Manifest
from llm_ensemble.request import Request, TextOptions
from llm_ensemble.sampling import Sampling, read_sampling

SURELY_READ = 100_000  # characters; they take some hundredths of a second to tokenize
Prepared = tuple[list[int], Request]  # prompt token ids, everything else


def load_tokenizer(engine_dir: Path) -> Tokenizer:
    """Load the engine directory's tokenizer.json; raises EngineDirectoryError when that fails."""
    path = engine_dir / TOKENIZER / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception, for a missing file too
        raise EngineDirectoryError(f"{path} cannot be loaded ({error}): build the engine again") from error


class Preprocessor:
    """Checks prompts against the engine's limits and tokenizes many in one call.

    chat: the model's chat template, None for a model that has none. deadline_ms: for requests that set none.
    log_text: whether prompts go on to where the log is written.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        manifest: Manifest,
        chat: ChatTemplate | None,
        deadline_ms: int,
        log_text: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = tokenizer.get_vocab_size()
        self._limits = manifest.limits
        self._longest = min(self._limits.max_input_len, self._limits.max_seq_len - 1)
        # No token is longer than the vocabulary's longest, so what cannot fit need not be tokenized: 10 MB
        # take seconds, in which nobody else's prompt is read. Long texts only: some tokenizers drop spaces.
        self._most_characters = max(SURELY_READ, self._longest * max(map(len, tokenizer.get_vocab())))
        self._defaults = manifest.defaults
        self._chat = chat
        self._deadline_ms = deadline_ms
        self._log_text = log_text

    def prepare(self, batch: Sequence[Fields]) -> list[Prepared | EnsembleError]:
        """Prepare each request; one that cannot be served becomes its error, its neighbours are untouched."""
        arrived = time.monotonic()
        prompts = [self._prompt(fields) for fields in batch]
        ids = self._tokenize(batch, prompts)
        return [
            prompt if isinstance(prompt, EnsembleError) else self._request(fields, prompt, ids[i], arrived)
            for i, (fields, prompt) in enumerate(zip(batch, prompts))
        ]

    def _prompt(self, fields: Fields) -> str | EnsembleError:
        """The text to continue: text_input as it is, or messages through the model's chat template."""
        try:
            prompt = self._messages(fields) if "messages" in fields else _text_input(fields)
            if len(prompt) > self._most_characters:
                raise RequestError(
                    _source(fields),
                    f"{len(prompt)} characters, at most {self._longest} tokens fit; shorten the prompt",
                )
            return prompt
        except EnsembleError as error:
            return error

    def _messages(self, fields: Fields) -> str:
        if "text_input" in fields:
            raise RequestError("messages", "text_input is there too; send one of them")
        if self._chat is None:
            raise RequestError("messages", "this model has no chat template; send text_input")
        return self._chat.render(fields["messages"])

    def _tokenize(self, batch: Sequence[Fields], prompts: list[str | EnsembleError]) -> dict[int, list[int]]:
        """Token ids by place in the batch. A chat template writes its special tokens itself."""
        ids = {}
        for chat in (False, True):
            chosen = {
                i: prompt
                for i, (fields, prompt) in enumerate(zip(batch, prompts))
                if isinstance(prompt, str) and ("messages" in fields) == chat
            }
            encodings = self._tokenizer.encode_batch_fast([*chosen.values()], add_special_tokens=not chat)
            ids.update({i: encoding.ids for i, encoding in zip(chosen, encodings)})
        return ids

    def _request(
        self, fields: Fields, prompt: str, input_ids: list[int], arrived: float
    ) -> Prepared | RequestError:
        try:
            sampling = self._sampling(fields, len(input_ids))
        except RequestError as error:
            return error
        text = TextOptions(
            stream=fields.get("stream", False),
            stop_words=fields.get("stop_words", []),
            echo="" if fields.get("exclude_input_in_output", True) else prompt,
            num_input_tokens=len(input_ids),
            num_sequences=sampling.num_return_sequences,
            log_probs=sampling.log_probs,
            arrived=arrived,
            prompt=prompt if self._log_text else "",
        )
        deadline = arrived + fields.get("deadline_ms", self._deadline_ms) / 1000
        return input_ids, Request(sampling, text, deadline)

    def _sampling(self, fields: Fields, prompt: int) -> Sampling:
        max_tokens = self._token_budget(fields, prompt)
        sampling = read_sampling(fields, max_tokens, self._limits, self._defaults, self._vocabulary)
        return msgspec.structs.replace(sampling, bad_words=self._bad_words(fields.get("bad_words", [])))

    def _bad_words(self, words: list[str]) -> list[list[int]]:
        """A word's ids where a text begins and after a space: most tokenizers tell these apart."""
        spellings = [spelling for word in words for spelling in (word, f" {word}")]
        encodings = self._tokenizer.encode_batch_fast(spellings, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def _token_budget(self, fields: Fields, prompt: int) -> int:
        """Tokens the completion may have: what was asked for, else the default or the room there is."""
        limits = self._limits
        room = limits.max_seq_len - prompt
        source = _source(fields)
        if prompt == 0:
            raise RequestError(source, "no token is left of it after tokenizing; send some text")
        if prompt > limits.max_input_len or room < 1:
            raise RequestError(source, f"{prompt} tokens, at most {self._longest} fit; shorten the prompt")
        asked: int | None = fields.get("max_tokens")
        if asked is None:
            return min(self._defaults.max_tokens, room)
        if asked > room:
            raise RequestError(
                "max_tokens",
                f"got {asked}, must be at most {room} here: prompt ({prompt} tokens) and "
                f"completion share max_seq_len {limits.max_seq_len}",
            )
        return asked


def _source(fields: Fields) -> str:
    """The field that the prompt comes from."""
    return "messages" if "messages" in fields else "text_input"


def _text_input(fields: Fields) -> str:
    if "text_input" not in fields:
        raise RequestError("text_input", "missing; send the prompt, or messages")
    text: str = fields["text_input"]
    if not text:
        raise RequestError("text_input", "empty; send at least one character")
    return text
