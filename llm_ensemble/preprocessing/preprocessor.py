# SPDX-License-Identifier: Apache-2.0
"""Preprocessing: from the fields of requests to token ids and one record each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from tokenizers import Tokenizer

from llm_ensemble.contract.fields import FILL_UP
from llm_ensemble.contract.guided import check_guided
from llm_ensemble.contract.logit_bias import WORDS, add_bias, read_word_bias
from llm_ensemble.contract.request import Request, TextOptions
from llm_ensemble.contract.request_fields import RequestFields
from llm_ensemble.contract.sampling import Sampling, read_sampling
from llm_ensemble.errors import EngineDirectoryError, EnsembleError, RequestError
from llm_ensemble.manifest import TOKENIZER, Manifest, read_manifest
from llm_ensemble.preprocessing.chat import ChatTemplate, load_chat_template
from llm_ensemble.preprocessing.prompt_text import prompt_ids, prompt_text, special_tokens
from llm_ensemble.preprocessing.special_tokens import PromptTokenizer
from llm_ensemble.settings import Settings

MIN_CHARACTERS = 100_000  # so many are always tokenized; they take some hundredths of a second
Prepared = tuple[list[int], Request]  # the prompt's token ids, and all else
Prompt = str | list[int]  # a text that is yet to be tokenized, or token ids


def load_tokenizer(engine_dir: Path) -> Tokenizer:
    """Return the tokenizer of an engine directory. Raise EngineDirectoryError if it cannot be loaded."""
    path = engine_dir / TOKENIZER / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception, for a missing file too
        raise EngineDirectoryError(f"{path} cannot be loaded ({error}): build the engine again") from error


def load_preprocessor(settings: Settings, tokenizer: Tokenizer) -> Preprocessor:
    """Return the preprocessor for the engine directory of the settings."""
    folder = settings.engine_dir
    chat = load_chat_template(folder)
    return Preprocessor(tokenizer, read_manifest(folder), chat, settings.deadline_ms, settings.log_text)


class Preprocessor:
    """Checks requests against the engine's limits, and tokenizes the prompts of a batch in one call.

    chat: the model's chat template, None for a model without one. deadline_ms: for requests that set none.
    log_text: whether prompts travel on to postprocessing, which logs them.
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
        self._prompt_tokenizer = PromptTokenizer(tokenizer)
        vocabulary = tokenizer.get_vocab()
        self._vocabulary = 1 + max(vocabulary.values())
        added = tokenizer.get_added_tokens_decoder()
        self._special_ids = {number for number, token in added.items() if token.special}
        self._limits = manifest.limits
        self._max_prompt = min(self._limits.max_input_len, self._limits.max_seq_len - 1)
        # No token is longer than the vocabulary's longest, so what cannot fit is not tokenized: 10 MB take
        # seconds, in which other prompts wait. Long texts only, since some tokenizers drop spaces.
        self._max_characters = max(MIN_CHARACTERS, self._max_prompt * max(map(len, vocabulary)))
        self._defaults = manifest.defaults
        self._chat = chat
        self._deadline_ms = deadline_ms
        self._log_text = log_text

    def prepare(self, batch: Sequence[RequestFields]) -> list[Prepared | EnsembleError]:
        """Return token ids and record of each request; of one that cannot be served, its error."""
        arrived = time.monotonic()
        prompts = [self._prompt(fields) for fields in batch]
        ids = self._tokenize(batch, prompts)
        return [
            prompt if isinstance(prompt, EnsembleError) else self._request(fields, prompt, ids[i], arrived)
            for i, (fields, prompt) in enumerate(zip(batch, prompts))
        ]

    def _prompt(self, fields: RequestFields) -> Prompt | EnsembleError:
        try:
            if fields.input_ids is not None:
                return prompt_ids(fields, fields.input_ids, self._vocabulary)
            prompt = prompt_text(fields, self._chat)
            if len(prompt) > self._max_characters:
                raise RequestError(
                    fields.prompt_field,
                    f"{len(prompt)} characters, at most {self._max_prompt} tokens fit; shorten the prompt",
                )
            return prompt
        except EnsembleError as error:
            return error

    def _tokenize(
        self, batch: Sequence[RequestFields], prompts: list[Prompt | EnsembleError]
    ) -> dict[int, list[int]]:
        """Return the token ids of the prompts, by index in the batch."""
        texts = {i: prompt for i, prompt in enumerate(prompts) if isinstance(prompt, str)}
        ids = self._prompt_tokenizer.encode([*texts.values()], [special_tokens(batch[i]) for i in texts])
        return {i: prompt for i, prompt in enumerate(prompts) if isinstance(prompt, list)} | dict(
            zip(texts, ids)
        )

    def _request(
        self, fields: RequestFields, prompt: Prompt, input_ids: list[int], arrived: float
    ) -> Prepared | RequestError:
        try:
            sampling = self._sampling(fields, len(input_ids))
        except RequestError as error:
            return error
        text = TextOptions(
            stream=fields.stream,
            stop_words=fields.stop_words,
            echo="" if fields.exclude_input_in_output else self._text(prompt, fields.skip_special_tokens),
            num_input_tokens=len(input_ids),
            num_sequences=sampling.num_return_sequences,
            log_probs=sampling.log_probs,
            top_log_probs=sampling.top_log_probs,
            arrived=arrived,
            prompt=self._text(prompt) if self._log_text else "",
            skip_special_tokens=fields.skip_special_tokens,
            lora=sampling.lora,
        )
        deadline_ms = self._deadline_ms if fields.deadline_ms is None else fields.deadline_ms
        return input_ids, Request(sampling, text, arrived + deadline_ms / 1000)

    def _text(self, prompt: Prompt, skip_special_tokens: bool = True) -> str:
        """Return the prompt as text; that of token ids is without special tokens where a completion is."""
        if isinstance(prompt, str):
            return prompt
        return str(self._tokenizer.decode(prompt, skip_special_tokens=skip_special_tokens))

    def _sampling(self, fields: RequestFields, prompt_tokens: int) -> Sampling:
        max_tokens = self._max_tokens(fields, prompt_tokens)
        bad_words = self._encode_words(fields.bad_words)
        sampling = read_sampling(
            fields, max_tokens, bad_words, self._limits, self._defaults, self._vocabulary
        )
        check_guided(sampling, self._special_ids)
        words = read_word_bias(fields.embedding_bias_words, fields.embedding_bias_weights)
        return self._with_word_bias(sampling, words) if words else sampling

    def _with_word_bias(self, sampling: Sampling, words: dict[str, float]) -> Sampling:
        """Return the sampling with the weight of each word added for its tokens, as NVIDIA's ensemble does.

        Without special tokens, which NVIDIA's raises, too, where its tokenizer adds some.
        """
        encodings = self._tokenizer.encode_batch_fast([*words], add_special_tokens=False)
        ids = (encoding.ids for encoding in encodings)
        bias = add_bias(sampling.logit_bias, zip(ids, words.values()))
        return msgspec.structs.replace(
            sampling, logit_bias=bias, bias_field=sampling.bias_field if sampling.logit_bias else WORDS
        )

    def _encode_words(self, words: list[str]) -> list[list[int]]:
        """Return the ids of each word with and without a leading space: most tokenizers tell these apart."""
        if not words:
            return []
        spellings = [spelling for word in words for spelling in (word, f" {word}")]
        encodings = self._tokenizer.encode_batch_fast(spellings, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def _max_tokens(self, fields: RequestFields, prompt_tokens: int) -> int:
        """Return max_tokens, or the default within what fits. Raise RequestError if it does not fit."""
        limits = self._limits
        room = limits.max_seq_len - prompt_tokens
        if prompt_tokens == 0:
            raise RequestError(fields.prompt_field, "no token is left of it after tokenizing; send some text")
        if prompt_tokens > limits.max_input_len or room < 1:
            raise RequestError(
                fields.prompt_field,
                f"{prompt_tokens} tokens, at most {self._max_prompt} fit; shorten the prompt",
            )
        if fields.max_tokens is None:
            return min(self._defaults.max_tokens, room)
        if fields.max_tokens == FILL_UP:
            return room
        if fields.max_tokens > room:
            raise RequestError(
                "max_tokens",
                f"got {fields.max_tokens}, must be at most {room} here: prompt ({prompt_tokens} tokens) and "
                f"completion share max_seq_len {limits.max_seq_len}",
            )
        return fields.max_tokens
