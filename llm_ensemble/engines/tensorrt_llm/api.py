# SPDX-License-Identifier: Apache-2.0
"""Adapter for TensorRT-LLM's LLM class: loading, unsupported fields, sampling settings, results.

Written from the facts of TensorRT-LLM 1.2.1 that tests/fakes/tensorrt-llm-1.2.json holds and from its public
source; it has not run on a GPU yet. Names that changed after 1.2 are used where they exist.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.protocol import Tokens
from llm_ensemble.engines.tensorrt_llm.settings import TensorRtLlmSettings
from llm_ensemble.engines.tensorrt_llm.versions import LAST_WITH_ENGINES, check_pytorch_sampling
from llm_ensemble.engines.top_log_probs import chosen_and_top
from llm_ensemble.errors import EngineDirectoryError, EngineError, RequestError
from llm_ensemble.manifest import ENGINE, Manifest

NO_END_ID = -1  # ends nothing


def load_llm(engine_dir: Path, manifest: Manifest, settings: TensorRtLlmSettings) -> Any:
    """Load the engine or checkpoint; raise EngineDirectoryError if that fails.

    The arguments are made first, since the import takes long and opens CUDA.
    """
    arguments = llm_arguments(engine_dir, manifest, settings)
    try:
        llm_class = _pytorch_llm() if manifest.backend == "pytorch" else _engine_llm()
        return llm_class(**arguments, **_config_objects(manifest, settings))
    except Exception as error:
        raise EngineDirectoryError(f"{engine_dir} cannot be loaded: {error}") from error


def _pytorch_llm() -> Any:
    from tensorrt_llm import LLM

    return LLM


def _engine_llm() -> Any:
    import tensorrt_llm

    try:
        from tensorrt_llm._tensorrt_engine import LLM
    except ImportError as error:
        raise EngineDirectoryError(
            f"TensorRT-LLM {tensorrt_llm.__version__} has no TensorRT backend ({error}), whose last release "
            f"is {LAST_WITH_ENGINES}: serve in the image the engine was built in, or build with "
            "--backend pytorch"
        ) from error
    return LLM


def llm_arguments(engine_dir: Path, manifest: Manifest, settings: TensorRtLlmSettings) -> dict[str, Any]:
    """Return the constructor's arguments of Python's own types.

    For an engine, max_beam_width and max_num_tokens must be given: by default they are 1 and 8,192,
    whatever it was built with. Its parallelism is fixed by the build.
    Without gpus_per_node the library counts the GPUs of the whole machine.
    """
    folder = engine_dir / ENGINE
    arguments: dict[str, Any] = {
        "model": str(folder),
        "skip_tokenizer_init": True,
        "enable_chunked_prefill": settings.chunked_prefill,
    }
    if settings.gpu_groups:
        arguments["gpus_per_node"] = len(settings.gpu_groups[0])  # all groups have one size
    if manifest.backend == "tensorrt":
        built = _built_with(folder)
        arguments["max_beam_width"] = built["max_beam_width"]
        arguments["max_num_tokens"] = built["max_num_tokens"]
        # Not without logits, since it makes the engine run in this process, where streaming is slower.
        arguments["gather_generation_logits"] = has_logits(engine_dir, manifest)
        return arguments
    limits = manifest.limits
    return arguments | {
        "tensor_parallel_size": manifest.tensor_parallel,
        "max_batch_size": limits.max_batch_size,
        "max_input_len": limits.max_input_len,
        "max_seq_len": limits.max_seq_len,
        "max_num_tokens": limits.max_num_tokens,
        "max_beam_width": 1,  # with more, every request must be a beam search of just that width
        "attn_backend": settings.attention_backend,
        "enable_iter_perf_stats": True,  # without it get_stats has nothing
    }


def has_logits(engine_dir: Path, manifest: Manifest) -> bool:
    """Return whether log probabilities are available: an engine must have been built with logits."""
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


def _config_objects(manifest: Manifest, settings: TensorRtLlmSettings) -> dict[str, Any]:
    """Return the constructor's arguments of TensorRT-LLM's types."""
    from tensorrt_llm.llmapi import CapacitySchedulerPolicy, KvCacheConfig, SchedulerConfig

    policy = CapacitySchedulerPolicy[settings.scheduler_policy]
    objects = {
        "kv_cache_config": KvCacheConfig(
            free_gpu_memory_fraction=settings.kv_cache_fraction, enable_block_reuse=settings.prefix_cache
        ),
        "scheduler_config": SchedulerConfig(capacity_scheduler_policy=policy),
    }
    if manifest.backend == "pytorch":
        objects["cuda_graph_config"] = _graph_config() if settings.cuda_graphs else None
    return objects


def _graph_config() -> Any:
    """Return the config for CUDA graphs; after 1.2 CudaGraphConfig is a union, which cannot be called."""
    from tensorrt_llm import llmapi

    config_class = getattr(llmapi, "DecodeCudaGraphConfig", None) or llmapi.CudaGraphConfig
    return config_class(enable_padding=True)


def check_sampling(sampling: Sampling, manifest: Manifest, logits: bool) -> None:
    """Raise RequestError for a field that the engine does not support; logits: see has_logits."""
    if manifest.backend == "pytorch":
        from tensorrt_llm import __version__

        check_pytorch_sampling(sampling, __version__)
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


def sampling_params(sampling: Sampling) -> Any:
    """Convert sampling settings to TensorRT-LLM's, with end tokens, since there is no tokenizer."""
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
    if sampling.beam_width > 1:
        fields |= {"use_beam_search": True, "length_penalty": sampling.length_penalty}
    if not sampling.greedy:
        fields |= _random_sampling(sampling)
    if sampling.log_probs:
        # 0 means none; the chosen token's is always included.
        fields["logprobs"] = max(1, sampling.top_log_probs)
    params = SamplingParams(**fields, **_penalties(sampling))
    if sampling.bad_words:
        # Without a tokenizer no public argument takes words of several tokens; these two are read together.
        params.bad = []
        params._bad_word_ids = sampling.bad_words
    return params


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
