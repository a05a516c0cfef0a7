# SPDX-License-Identifier: Apache-2.0
"""Adapter for TensorRT-LLM's LLM class: unsupported fields, sampling settings, results.

Written from the facts of TensorRT-LLM 1.2.1 that tests/fakes/tensorrt-llm-1.2.json holds and from its public
source; it has not run on a GPU yet. Names that changed after 1.2 are used where they exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from llm_ensemble.contract.guide import Guide
from llm_ensemble.contract.guides.guide_grammar import grammar_of
from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.features import refuse_lacking
from llm_ensemble.engines.protocol import Tokens
from llm_ensemble.engines.tensorrt_llm.features import ENGINE_LACKS, pytorch_lacks
from llm_ensemble.engines.tensorrt_llm.versions import check_drawn_log_probs
from llm_ensemble.engines.top_log_probs import chosen_and_top
from llm_ensemble.errors import EngineError, RequestError
from llm_ensemble.manifest import Manifest

NO_END_ID = -1  # ends nothing
ALONE = ("min_tokens", "beam_width", "bad_words")  # what was not seen to go with a guide


def check_sampling(sampling: Sampling, manifest: Manifest, logits: bool, vocabulary: int = 0) -> None:
    """Raise RequestError for a field that the engine does not support.

    logits, vocabulary: see has_logits and vocabulary of loading.py.
    """
    if manifest.backend == "pytorch":
        from tensorrt_llm import __version__

        refuse_lacking(sampling, pytorch_lacks(__version__))
        check_drawn_log_probs(sampling, __version__)
    else:
        refuse_lacking(sampling, ENGINE_LACKS)
    if sampling.guide:
        _check_guided(sampling)
    if sampling.log_probs and not logits:
        raise RequestError(
            "return_log_probs",
            "this tensorrt_llm engine has no logits; build it with --log-probs, or leave it out",
        )
    if sampling.beam_width > 1 and not sampling.greedy:
        raise RequestError(
            "beam_width",
            "the tensorrt_llm engine does not sample in a beam search; leave out one or the other",
        )
    if sampling.beam_width > 1 and sampling.log_probs:
        raise RequestError(
            "return_log_probs",
            "the tensorrt_llm engine gives none in a beam search; leave out one or the other",
        )
    if sampling.logit_bias and max(sampling.logit_bias) >= vocabulary:
        highest = max(sampling.logit_bias)
        raise RequestError(
            sampling.bias_field,
            f"token {highest} is not one of the {vocabulary} of this engine; leave it out",
        )


def _check_guided(sampling: Sampling) -> None:
    neutral = Sampling(max_tokens=1)
    for name in ALONE:
        if getattr(sampling, name) != getattr(neutral, name):
            raise RequestError(
                name, "the tensorrt_llm engine has none with a guide; leave out one or the other"
            )
    assert sampling.guide
    grammar_of(sampling.guide)


def with_end_of_guide(sampling: Sampling, end_id: int | None) -> Sampling:
    """Return the sampling whose end tokens have the tokenizer's, which alone ends what a guide has."""
    if not sampling.guide or end_id is None or end_id in sampling.end_ids:
        return sampling
    return msgspec.structs.replace(sampling, end_ids=[end_id, *sampling.end_ids])


def _guide(guide: Guide) -> Any:
    from tensorrt_llm.llmapi import GuidedDecodingParams

    return GuidedDecodingParams(grammar=grammar_of(guide))


def sampling_params(sampling: Sampling, vocabulary: int = 0) -> Any:
    """Convert sampling settings to TensorRT-LLM's, with the end tokens that the request has.

    vocabulary: how many logits the model has, for a bias.
    """
    from tensorrt_llm import SamplingParams

    end_ids = sampling.end_ids or [NO_END_ID]
    fields: dict[str, Any] = {
        "max_tokens": sampling.max_tokens,
        "min_tokens": sampling.min_tokens,  # the default is 1
        "end_id": end_ids[0],
        "pad_id": sampling.pad_id if sampling.pad_id is not None else max(end_ids[0], 0),
        "n": sampling.num_return_sequences,
        "best_of": sampling.width,
        "detokenize": False,
    }
    if end_ids[1:]:
        fields["stop_token_ids"] = end_ids[1:]  # each is a stop word of one token, which is cut off
    if sampling.guide:
        fields["guided_decoding"] = _guide(sampling.guide)
    if sampling.beam_width > 1:
        fields |= {"use_beam_search": True, "length_penalty": sampling.length_penalty}
    if not sampling.greedy:
        fields |= _random_sampling(sampling)
    if sampling.log_probs:
        # 0 means none; the chosen token's is always included.
        fields["logprobs"] = max(1, sampling.top_log_probs)
    if sampling.logit_bias:
        fields["embedding_bias"] = _embedding_bias(sampling.logit_bias, vocabulary)
    params = SamplingParams(**fields, **_penalties(sampling))
    if sampling.bad_words:
        # No public argument takes words as ids. These two are read together; since there is an end_id, the
        # library does not encode the first anew.
        params.bad = []
        params._bad_word_ids = sampling.bad_words
    return params


def _embedding_bias(bias: Mapping[int, float], vocabulary: int) -> Any:
    """Return a bias as TensorRT-LLM takes it: a number for each of the model's logits.

    1.2.1's documentation lists it for the PyTorch backend's sampler; the other backend's C++ source refuses a
    tensor that is not as long as the model's vocabulary, and one that is not float32.
    """
    import torch

    dense = np.zeros(vocabulary, dtype=np.float32)
    dense[[*bias]] = [*bias.values()]
    return torch.from_numpy(dense)


def _random_sampling(sampling: Sampling) -> dict[str, Any]:
    """Return the fields of random sampling; without any of them decoding is greedy."""
    fields: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "seed": sampling.seed,
    }
    if sampling.min_p:
        fields["min_p"] = sampling.min_p
    return fields


def _penalties(sampling: Sampling) -> dict[str, float]:
    """Return the penalties that are not neutral: some kernels run only if one is set."""
    neutral = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    return {name: getattr(sampling, name) for name in neutral if getattr(sampling, name) != neutral[name]}


class Reader:
    """Reads the new tokens of one request from its results, one object that the library changes each step."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._returned = [0] * sampling.num_return_sequences
        self._ended = [False] * sampling.num_return_sequences

    def read(self, output: Any) -> list[Tokens]:
        """Return what is new, one Tokens a sequence; raise EngineError if log probabilities are missing.

        A beam search has no tokens before its end: until then the beams change with every response.
        """
        if self._sampling.beam_width > 1 and not output.finished:
            return []
        news = []
        for index, sequence in enumerate(output.outputs):
            tokens = self._read_sequence(index, sequence, output.finished)
            if tokens.token_ids or tokens.finish:
                news.append(tokens)
        return news

    def _read_sequence(self, index: int, sequence: Any, finished: bool) -> Tokens:
        if self._ended[index]:
            return Tokens([], index=index)
        # The library cuts the tokens of a stop word off again at the end, after they were returned.
        returned = self._returned[index]
        new_ids = sequence.token_ids[returned:]
        ids = self._before_end_id(new_ids)
        finish = sequence.finish_reason or ""
        # Each sequence has a finish reason of its own (1.2.1); in an earlier source, only the last one.
        if finished and not finish:
            full = returned + len(ids) >= self._sampling.max_tokens
            finish = "length" if full and len(ids) == len(new_ids) else "stop"
        self._returned[index] = returned + len(ids)
        self._ended[index] = bool(finish)
        return Tokens(ids, finish, None, index, *self._scores(sequence, returned, ids))

    def _before_end_id(self, ids: list[int]) -> list[int]:
        """Cut off the end token; whether the library does so is not documented."""
        for position, token_id in enumerate(ids):
            if token_id in self._sampling.end_ids:
                return ids[:position]
        return ids

    def _scores(self, sequence: Any, start: int, ids: list[int]) -> tuple[list[Any], ...]:
        """Return log_probs, top_ids and top_log_probs of Tokens."""
        if not self._sampling.log_probs:
            return ()
        found = zip(ids, sequence.logprobs[start : start + len(ids)], strict=True)
        try:
            return chosen_and_top(found, self._sampling.top_log_probs)
        except (LookupError, ValueError) as error:
            raise EngineError("the engine left out a token's log probability") from error
