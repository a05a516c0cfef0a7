# SPDX-License-Identifier: Apache-2.0
"""The settings of the vllm engine kind."""

from __future__ import annotations

from dataclasses import dataclass

from llm_ensemble.engines.draft import DraftSettings
from llm_ensemble.engines.gpu_groups import GPU_GROUPS, MEANING, GpuGroups
from llm_ensemble.settings import number, setting, switch


@dataclass(frozen=True)
class VllmSettings(DraftSettings):
    """Names that other kinds have too mean the same there."""

    gpu_groups: GpuGroups = setting((), GPU_GROUPS, MEANING)
    gpu_memory_fraction: float = setting(
        0.9,
        number("a number between 0 and 1", lambda value: 0 < value < 1),
        "The part of each GPU's whole memory that vLLM takes: weights, activations and KV cache "
        "(gpu_memory_utilization of vLLM).",
    )
    prefix_cache: bool = setting(
        True, switch(), "Whether prompts that begin alike share a part of the KV cache."
    )
    cuda_graphs: bool = setting(
        True,
        switch(),
        "Whether vLLM compiles the model and uses CUDA graphs; off, it starts sooner and generates slower.",
    )

    @property
    def instances(self) -> int:
        """Instances of the engine stage: one a group of GPUs."""
        return max(1, len(self.gpu_groups))
