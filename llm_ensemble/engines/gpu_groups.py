# SPDX-License-Identifier: Apache-2.0
"""GPU_GROUPS: which GPUs an instance of the engine stage has."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from llm_ensemble.engines.gpu_inventory import NO_GPU
from llm_ensemble.errors import EngineDirectoryError, SettingError
from llm_ensemble.settings import Values

GpuGroups = tuple[tuple[int, ...], ...]  # one group an instance

MEANING = (
    "The GPUs of each instance of the engine; a group has as many as the engine was built for (tensor "
    "parallelism times pipeline parallelism). Default: one instance on the first GPUs that are visible."
)


def read_gpu_groups(text: str) -> GpuGroups:
    """Return the groups of a text like "0,1;2,3". Raise ValueError for a malformed one."""
    groups = [group.split(",") for group in text.split(";")] if text.strip() else []
    if not all(gpu.strip().isdecimal() for group in groups for gpu in group):
        raise ValueError
    numbers = tuple(tuple(int(gpu) for gpu in group) for group in groups)
    if len(set(sum(numbers, ()))) < len(sum(numbers, ())):
        raise ValueError("must name each GPU once")
    if len({len(group) for group in numbers}) > 1:
        raise ValueError("must have groups of one size")
    return numbers


GPU_GROUPS = Values('GPU numbers, "0,1;2,3" for two instances', read_gpu_groups)


def visible_devices(groups: GpuGroups, instance: int, environ: Mapping[str, str] = os.environ) -> str:
    """Return CUDA_VISIBLE_DEVICES of an instance; "" without groups, which leaves the variable as it is.

    If CUDA_VISIBLE_DEVICES is set, a GPU number is an index into its list.
    """
    if not groups:
        return ""
    visible = [gpu for gpu in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    return ",".join(visible[gpu] if visible else str(gpu) for gpu in groups[instance])


def check_gpu_groups(groups: GpuGroups, size: int, visible_gpus: Sequence[int], option: str) -> GpuGroups:
    """Return the GPUs of each instance, by nvidia-smi's numbers: as many as share the model, all visible.

    size: GPUs that share the model. visible_gpus: numbers of those visible to CUDA; GPU_GROUPS counts these.
    option: of the build that sets `size`, for the message. Raise EngineDirectoryError or SettingError.
    """
    if not visible_gpus:
        raise EngineDirectoryError(NO_GPU)
    if size > len(visible_gpus):
        raise EngineDirectoryError(
            f"the engine is for {size} GPUs, {len(visible_gpus)} can be seen: give it more (docker run "
            f"--gpus, CUDA_VISIBLE_DEVICES), or build it with {option} {len(visible_gpus)}"
        )
    groups = groups or (tuple(range(size)),)
    text = ";".join(",".join(map(str, group)) for group in groups)
    if any(len(group) != size for group in groups):
        raise SettingError(
            f"GPU_GROUPS={text}: the engine is for {size} GPU(s), so each group must have {size}"
        )
    unseen = [gpu for group in groups for gpu in group if gpu >= len(visible_gpus)]
    if unseen:
        raise SettingError(
            f"GPU_GROUPS={text}: there is no GPU {unseen[0]}; {len(visible_gpus)} can be seen, counted from 0"
        )
    return tuple(tuple(visible_gpus[gpu] for gpu in group) for group in groups)
