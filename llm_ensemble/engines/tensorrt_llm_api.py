# SPDX-License-Identifier: Apache-2.0
"""TensorRT-LLM's LLM class in our words: loading, what it cannot do, a request's settings, results.

Written from the facts of TensorRT-LLM 1.2.1 that tests/fakes/tensorrt-llm-1.2.json holds and from its public
source; nothing of it has run on a GPU yet.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llm_ensemble.engines.base import Tokens
from llm_ensemble.errors import EngineDirectoryError, EngineError, RequestError
from llm_ensemble.manifest import ENGINE, Manifest
from llm_ensemble.sampling import Sampling
from llm_ensemble.settings import GpuSettings

NEVER = -1  # the end id that ends nothing


def load_llm(engine_dir: Path, manifest: Manifest, settings: GpuSettings) -> Any:
    """Load the engine or checkpoint; raises EngineDirectoryError if it cannot be.

    The import takes long and opens CUDA, so everything that can be wrong is looked at before.
    """
    arguments = llm_arguments(engine_dir, manifest, settings)
    try:
        if manifest.backend == "tensorrt":
            from tensorrt_llm._tensorrt_engine import LLM
        else:
            from tensorrt_llm import LLM
        return LLM(**arguments, **_config_objects(manifest, settings))
    except Exception as error:
        raise EngineDirectoryError(f"{engine_dir} cannot be loaded: {error}") from error


def llm_arguments(engine_dir: Path, manifest: Manifest, settings: GpuSettings) -> dict[str, Any]:
    """The constructor's plain arguments.

    For an engine, max_beam_width and max_num_tokens must be given: left out they become 1 and 8,192,
    whatever it was built with. Its parallelism is its own.
    """
    folder = engine_dir / ENGINE
    arguments: dict[str, Any] = {
        "model": str(folder),
        "skip_tokenizer_init": True,
        "enable_chunked_prefill": settings.chunked_prefill,
    }
    if manifest.backend == "tensorrt":
        built = _built_with(folder)
        arguments["max_beam_width"] = built["max_beam_width"]
        arguments["max_num_tokens"] = built["max_num_tokens"]
        # Only with logits, since it makes the engine run in this process, where streaming is slower.
        arguments["gather_generation_logits"] = has_logits(engine_dir, manifest)
        return arguments
    limits = manifest.limits
    return arguments | {
        "tensor_parallel_size": manifest.tensor_parallel,
        "max_batch_size": limits.max_batch_size,
        "max_input_len": limits.max_input_len,
        "max_seq_len": limits.max_seq_len,
        "max_num_tokens": limits.max_num_tokens,
        "max_beam_width": limits.max_beam_width,
        "attn_backend": settings.attention_backend,
        "enable_iter_perf_stats": True,  # without it get_stats has nothing
    }


def has_logits(engine_dir: Path, manifest: Manifest) -> bool:
    """Whether log probabilities can be had: an engine must have been built with its logits."""
    if manifest.backend == "pytorch":
        return True
    return bool(_built_with(engine_dir / ENGINE)["gather_generation_logits"])


def _built_with(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        built: dict[str, Any] = json.loads(path.read_bytes())["build_config"]
        return built
    except (OSError, ValueError, KeyError) as error:
        raise EngineDirectoryError(f"{path} cannot be read ({error}): build the engine again") from error


def _config_objects(manifest: Manifest, settings: GpuSettings) -> dict[str, Any]:
    """The constructor's arguments that are TensorRT-LLM's own objects."""
    from tensorrt_llm.llmapi import CapacitySchedulerPolicy, CudaGraphConfig, KvCacheConfig, SchedulerConfig

    policy = CapacitySchedulerPolicy[settings.scheduler_policy]
    objects = {
        "kv_cache_config": KvCacheConfig(
            free_gpu_memory_fraction=settings.kv_cache_fraction, enable_block_reuse=settings.prefix_cache
        ),
        "scheduler_config": SchedulerConfig(capacity_scheduler_policy=policy),
    }
    if manifest.backend == "pytorch":
        graphs = CudaGraphConfig(enable_padding=True) if settings.cuda_graphs else None
        objects["cuda_graph_config"] = graphs
    return objects


def refuse_what_it_cannot(sampling: Sampling, manifest: Manifest, logits: bool) -> None:
    """Raises RequestError naming the field. logits: whether the engine can give them."""
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
    if manifest.backend == "pytorch":
        _refuse_what_pytorch_cannot(sampling)


def _refuse_what_pytorch_cannot(sampling: Sampling) -> None:
    """Its documentation lists penalties for its default sampler only after 1.2, and bad words nowhere."""
    asked = {
        "repetition_penalty": sampling.repetition_penalty != 1,
        "presence_penalty": sampling.presence_penalty != 0,
        "frequency_penalty": sampling.frequency_penalty != 0,
        "bad_words": bool(sampling.bad_words),
    }
    for name, wanted in asked.items():
        if wanted:
            raise RequestError(name, "the tensorrt_llm engine's PyTorch backend has none; leave it out")


def sampling_params(sampling: Sampling) -> Any:
    """TensorRT-LLM's words for a sampling. Without a tokenizer each request must say what ends it."""
    from tensorrt_llm import SamplingParams

    ends = sampling.end_ids or [NEVER]
    words: dict[str, Any] = {
        "max_tokens": sampling.max_tokens,
        "min_tokens": sampling.min_tokens,  # left out it would be 1
        "end_id": ends[0],
        "pad_id": sampling.pad_id if sampling.pad_id is not None else max(ends[0], 0),
        "n": sampling.num_return_sequences,
        "best_of": sampling.width,
        "detokenize": False,
    }
    if ends[1:]:
        words["stop_token_ids"] = ends[1:]  # each a stop word of one token, which it cuts off
    if sampling.beam_width > 1:
        words |= {"use_beam_search": True, "length_penalty": sampling.length_penalty}
    if not sampling.greedy:
        words |= _drawing(sampling)
    if sampling.log_probs:
        words["logprobs"] = 1  # 0 would give none; the chosen token's is always among them
    params = SamplingParams(**words, **_penalties(sampling))
    if sampling.bad_words:
        # Words of several tokens have no public way in without a tokenizer; these two are read together.
        params.bad = []
        params._bad_word_ids = sampling.bad_words
    return params


def _drawing(sampling: Sampling) -> dict[str, Any]:
    """Greedy is what it does when none of these is set."""
    words: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "seed": sampling.seed,
    }
    if sampling.min_p:
        words["min_p"] = sampling.min_p
    return words


def _penalties(sampling: Sampling) -> dict[str, float]:
    """Those that change anything: some kernels are only run when one is set."""
    neutral = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    return {name: getattr(sampling, name) for name in neutral if getattr(sampling, name) != neutral[name]}


class Reader:
    """One request's results so far. TensorRT-LLM gives the same object again, changed, at each step."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._given = [0] * sampling.num_return_sequences
        self._ended = [False] * sampling.num_return_sequences

    def read(self, output: Any) -> list[Tokens]:
        """What is new in each sequence. Raises EngineError when log probabilities are missing.

        Of a beam search nothing before its end: until then every response has other beams. Of several
        sequences only the one that ends last is told why it ended.
        """
        if self._sampling.beam_width > 1 and not output.finished:
            return []
        news = []
        for index, sequence in enumerate(output.outputs):
            tokens = self._news(index, sequence, output.finished)
            if tokens.token_ids or tokens.finish:
                news.append(tokens)
        return news

    def _news(self, index: int, sequence: Any, finished: bool) -> Tokens:
        if self._ended[index]:
            return Tokens([], index=index)
        # What was given stays given: a stop word's tokens are cut off again at the end.
        given = self._given[index]
        came = sequence.token_ids[given:]
        ids = self._text_ids(came)
        finish = sequence.finish_reason or ""
        if finished and not finish:
            full = given + len(ids) >= self._sampling.max_tokens
            finish = "length" if full and len(ids) == len(came) else "stop"
        self._given[index] = given + len(ids)
        self._ended[index] = bool(finish)
        return Tokens(ids, finish, index=index, log_probs=self._log_probs(sequence, given, ids))

    def _text_ids(self, ids: list[int]) -> list[int]:
        """Up to the end token, which is no text; whether the library leaves it in is not documented."""
        for place, token_id in enumerate(ids):
            if token_id in self._sampling.end_ids:
                return ids[:place]
        return ids

    def _log_probs(self, sequence: Any, given: int, ids: list[int]) -> list[float]:
        if not self._sampling.log_probs:
            return []
        found = sequence.logprobs[given : given + len(ids)]
        try:
            return [of_all[token_id].logprob for token_id, of_all in zip(ids, found, strict=True)]
        except (KeyError, ValueError) as error:
            raise EngineError("the engine left out a token's log probability") from error
