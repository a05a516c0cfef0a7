# SPDX-License-Identifier: Apache-2.0
"""What a server with TensorRT-LLM needs: the libraries an engine was built with, and its GPUs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from llm_ensemble.engines.draft import check_draft
from llm_ensemble.engines.gpu_groups import check_gpu_groups
from llm_ensemble.engines.gpu_inventory import (
    CAPABILITY,
    Gpu,
    find_gpus,
    too_old_for,
    visible,
)
from llm_ensemble.engines.tensorrt_llm.installed import IMAGE, TENSORRT, installed
from llm_ensemble.engines.tensorrt_llm.memory import estimate
from llm_ensemble.engines.tensorrt_llm.settings import TensorRtLlmSettings
from llm_ensemble.errors import EngineDirectoryError, SettingError
from llm_ensemble.manifest import Manifest
from llm_ensemble.settings import EngineSettings

BACKENDS = ("tensorrt", "pytorch")
DRAFT_FILES = ("config.json", "*.safetensors")


def check(
    engine_dir: Path,
    manifest: Manifest,
    settings: EngineSettings,
    versions: Mapping[str, str],
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Check the libraries and the GPUs. Raise EngineDirectoryError or SettingError for the first problem."""
    assert isinstance(settings, TensorRtLlmSettings)
    if manifest.backend not in BACKENDS:
        raise EngineDirectoryError(
            f"{engine_dir} is for backend {manifest.backend!r} of tensorrt_llm; this version serves "
            + " and ".join(BACKENDS)
        )
    if manifest.backend == "tensorrt":
        check_versions(manifest)
        if settings.is_speculative:
            raise SettingError(
                "DRAFT_ENGINE_DIR and PROMPT_LOOKUP are for the PyTorch backend, this is a built engine: "
                "unset them, or build both with --backend pytorch"
            )
    check_draft(engine_dir, manifest, settings, DRAFT_FILES)
    gpus = find_gpus()
    groups = check_gpu_groups(
        settings.gpu_groups, manifest.tensor_parallel, visible(gpus, environ), "--tensor-parallel"
    )
    serving = [gpus[number] for group in groups for number in group]
    check_architecture(manifest, serving)
    check_memory(engine_dir, manifest, settings, serving)


def check_versions(manifest: Manifest) -> None:
    """An engine runs under the very libraries it was built with, and nothing else."""
    here = {"tensorrt_llm": installed("tensorrt_llm"), "tensorrt": installed(*TENSORRT)}
    for library, name in (("tensorrt_llm", "TensorRT-LLM"), ("tensorrt", "TensorRT")):
        built, found = manifest.versions.get(library), here[library]
        if built is not None and built != found:
            raise EngineDirectoryError(
                f"the engine was built with {name} {built}, here is {found or 'none'}: build it again "
                f"here, or serve it in the image it was built in ({IMAGE} has TensorRT-LLM 1.2.1)"
            )


def check_architecture(manifest: Manifest, gpus: Sequence[Gpu]) -> None:
    """An engine runs on the architecture it was built on; a checkpoint wherever its arithmetic exists."""
    built = manifest.versions.get("compute_capability")
    for gpu in gpus:
        if manifest.backend == "tensorrt" and built is not None and gpu.compute_capability != built:
            raise EngineDirectoryError(
                f"the engine was built on {manifest.versions.get('gpu', 'another GPU')} (compute capability "
                f"{built}), here is {gpu.name} ({gpu.compute_capability}): build it again on this GPU"
            )
    old = too_old_for(manifest.precision, gpus)
    if old:
        least = ".".join(map(str, CAPABILITY[manifest.precision]))
        raise EngineDirectoryError(
            f"{manifest.precision} needs compute capability {least}, {old.name} has {old.compute_capability}"
            ": build with another --precision"
        )


def check_memory(
    engine_dir: Path, manifest: Manifest, settings: TensorRtLlmSettings, gpus: Sequence[Gpu]
) -> None:
    """Say the estimate, refuse what surely does not fit; without a size, leave it to the engine."""
    sizes = [gpu.memory_bytes for gpu in gpus if gpu.memory_bytes]
    if not sizes:
        return
    needed = estimate(engine_dir, manifest, min(sizes), settings.kv_cache_fraction)
    if not needed.fits:
        raise EngineDirectoryError(
            f"the GPU memory is too small: {needed}: take a larger KV_CACHE_FRACTION, or build with a lower "
            "precision, a smaller --max-seq-len or more --tensor-parallel"
        )
    sys.stderr.write(f"memory, by an estimate: {needed}\n")
