# SPDX-License-Identifier: Apache-2.0
"""Preflight's part for the tensorrt_llm engine: the image and the GPUs it will find."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from build_scripts.families import BACKENDS
from build_scripts.gpu import NO_GPU, Gpu, find_gpus, visible
from build_scripts.plan import CAPABILITY, too_old_for
from build_scripts.preflight_error import PreflightError
from build_scripts.trtllm import IMAGE, TENSORRT, installed
from llm_ensemble.engines.memory import estimate
from llm_ensemble.manifest import Manifest
from llm_ensemble.settings import GpuSettings, read_gpu_settings


def check_for_gpus(engine_dir: Path, manifest: Manifest, environ: Mapping[str, str]) -> None:
    """Check all of it. Raises PreflightError with the first problem, SettingError, EngineDirectoryError."""
    if manifest.backend not in BACKENDS:
        raise PreflightError(
            f"{engine_dir} is for backend {manifest.backend!r} of tensorrt_llm; this version serves "
            + " and ".join(BACKENDS)
        )
    settings = read_gpu_settings(environ)
    if manifest.backend == "tensorrt":
        check_versions(manifest)
    gpus = find_gpus()
    groups = check_groups(manifest, settings, visible(gpus, environ))
    serving = [gpus[number] for group in groups for number in group]
    check_architecture(manifest, serving)
    check_memory(engine_dir, manifest, settings, serving)


def check_versions(manifest: Manifest) -> None:
    """An engine runs under the very libraries it was built with, and nothing else."""
    here = {"tensorrt_llm": installed("tensorrt_llm"), "tensorrt": installed(*TENSORRT)}
    for library, name in (("tensorrt_llm", "TensorRT-LLM"), ("tensorrt", "TensorRT")):
        built, found = manifest.versions.get(library), here[library]
        if built is not None and built != found:
            raise PreflightError(
                f"the engine was built with {name} {built}, here is {found or 'none'}: build it again "
                f"here, or serve it in the image it was built in ({IMAGE} has TensorRT-LLM 1.2.1)"
            )


def check_groups(
    manifest: Manifest, settings: GpuSettings, visible_gpus: Sequence[int]
) -> tuple[tuple[int, ...], ...]:
    """The GPUs of each instance, by nvidia-smi's numbers: as many as share the model, and all visible.

    GPU_GROUPS counts the visible ones, as CUDA does.
    """
    size = manifest.tensor_parallel
    if not visible_gpus:
        raise PreflightError(NO_GPU)
    if size > len(visible_gpus):
        raise PreflightError(
            f"the engine is for {size} GPUs, {len(visible_gpus)} can be seen: give it more (docker run "
            f"--gpus, CUDA_VISIBLE_DEVICES), or build it with --tensor-parallel {len(visible_gpus)}"
        )
    groups = settings.gpu_groups or (tuple(range(size)),)
    text = ";".join(",".join(map(str, group)) for group in groups)
    if any(len(group) != size for group in groups):
        raise PreflightError(
            f"GPU_GROUPS={text}: the engine is for {size} GPU(s), so each group must have {size}"
        )
    unseen = [gpu for group in groups for gpu in group if gpu >= len(visible_gpus)]
    if unseen:
        raise PreflightError(
            f"GPU_GROUPS={text}: there is no GPU {unseen[0]}; {len(visible_gpus)} can be seen, counted from 0"
        )
    return tuple(tuple(visible_gpus[gpu] for gpu in group) for group in groups)


def check_architecture(manifest: Manifest, gpus: Sequence[Gpu]) -> None:
    """An engine runs on the architecture it was built on; a checkpoint wherever its arithmetic exists."""
    built = manifest.versions.get("compute_capability")
    for gpu in gpus:
        if manifest.backend == "tensorrt" and built is not None and gpu.compute_capability != built:
            raise PreflightError(
                f"the engine was built on {manifest.versions.get('gpu', 'another GPU')} (compute capability "
                f"{built}), here is {gpu.name} ({gpu.compute_capability}): build it again on this GPU"
            )
    old = too_old_for(manifest.precision, gpus)
    if old:
        least = ".".join(map(str, CAPABILITY[manifest.precision]))
        raise PreflightError(
            f"{manifest.precision} needs compute capability {least}, {old.name} has {old.compute_capability}"
            ": build with another --precision"
        )


def check_memory(engine_dir: Path, manifest: Manifest, settings: GpuSettings, gpus: Sequence[Gpu]) -> None:
    """Say the estimate, refuse what surely does not fit; without a size, leave it to the engine."""
    sizes = [gpu.memory_bytes for gpu in gpus if gpu.memory_bytes]
    if not sizes:
        return
    needed = estimate(engine_dir, manifest, min(sizes), settings.kv_cache_fraction)
    if not needed.fits:
        raise PreflightError(
            f"the GPU memory is too small: {needed}: take a larger KV_CACHE_FRACTION, or build with a lower "
            "precision, a smaller --max-seq-len or more --tensor-parallel"
        )
    sys.stderr.write(f"memory, by an estimate: {needed}\n")
