# SPDX-License-Identifier: Apache-2.0
"""Adapter for TensorRT-LLM's LLM class: loading.

Written from the facts of TensorRT-LLM 1.2.1 that tests/fakes/tensorrt-llm-1.2.json holds and from its public
source; it has not run on a GPU yet. Names that changed after 1.2 are used where they exist.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llm_ensemble.engines.draft import DRAFT_TOKENS, NGRAM
from llm_ensemble.engines.tensorrt_llm.settings import TensorRtLlmSettings
from llm_ensemble.engines.tensorrt_llm.versions import LAST_WITH_ENGINES
from llm_ensemble.errors import EngineDirectoryError
from llm_ensemble.manifest import ENGINE, TOKENIZER, Manifest


def load_llm(
    engine_dir: Path, manifest: Manifest, settings: TensorRtLlmSettings, lora: Callable[[], dict[str, Any]]
) -> Any:
    """Load the engine or checkpoint; raise EngineDirectoryError if that fails.

    lora: returns the arguments for adapters.

    The arguments are made first, since the import takes long and opens CUDA.
    """
    arguments = llm_arguments(engine_dir, manifest, settings)
    try:
        llm_class = _pytorch_llm() if manifest.backend == "pytorch" else _engine_llm()
        return llm_class(**arguments, **_config_objects(manifest, settings), **lora())
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
    Of the tokenizer the library needs the vocabulary, for guides, for which the engine backend has xgrammar
    alone.
    Without gpus_per_node the library counts the GPUs of the whole machine.
    """
    folder = engine_dir / ENGINE
    arguments: dict[str, Any] = {
        "model": str(folder),
        "tokenizer": str(engine_dir / TOKENIZER),
        "guided_decoding_backend": "xgrammar",
        "enable_chunked_prefill": settings.chunked_prefill,
    }
    if settings.gpu_groups:
        arguments["gpus_per_node"] = len(settings.gpu_groups[0])  # all groups have one size
    if manifest.backend == "tensorrt":
        built = built_with(folder)
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
        "disable_overlap_scheduler": settings.is_speculative,  # they exclude each other
    }


def vocabulary(engine_dir: Path, manifest: Manifest) -> int:
    """Return how many logits the model has, 0 if its config does not say."""
    folder = engine_dir / ENGINE
    config = json.loads((folder / "config.json").read_bytes())
    model = config if manifest.backend == "pytorch" else config["pretrained_config"]
    size = model.get("vocab_size") or model.get("text_config", {}).get("vocab_size")
    return int(size or 0)


def has_logits(engine_dir: Path, manifest: Manifest) -> bool:
    """Return whether log probabilities are available: an engine must have been built with logits."""
    if manifest.backend == "pytorch":
        return True
    return bool(built_with(engine_dir / ENGINE)["gather_generation_logits"])


def built_with(folder: Path) -> dict[str, Any]:
    """Return build_config of a built engine. Raise EngineDirectoryError if it cannot be read."""
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
        objects["speculative_config"] = _speculative_config(settings)
    return objects


def _speculative_config(settings: TensorRtLlmSettings) -> Any:
    """Return the config of speculative decoding, None without it. Neither way was run.

    Texts of a common pool of n-grams would be seen in the speed of others' requests.
    """
    from tensorrt_llm import llmapi

    if settings.prompt_lookup:
        return llmapi.NGramDecodingConfig(
            max_draft_len=DRAFT_TOKENS, max_matching_ngram_size=NGRAM, is_public_pool=False
        )
    if not settings.draft_engine_dir:
        return None
    folder = str(settings.draft_engine_dir / ENGINE)
    draft_config = llmapi.DraftTargetDecodingConfig
    try:
        return draft_config(max_draft_len=DRAFT_TOKENS, speculative_model=folder)
    except ValueError:  # of pydantic, for a field that there is not: its name of 1.2
        return draft_config(max_draft_len=DRAFT_TOKENS, speculative_model_dir=folder)


def _graph_config() -> Any:
    """Return the config for CUDA graphs; after 1.2 CudaGraphConfig is a union, which cannot be called."""
    from tensorrt_llm import llmapi

    config_class = getattr(llmapi, "DecodeCudaGraphConfig", None) or llmapi.CudaGraphConfig
    return config_class(enable_padding=True)
