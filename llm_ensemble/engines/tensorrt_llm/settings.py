# SPDX-License-Identifier: Apache-2.0
"""The settings of the tensorrt_llm engine kind."""

from __future__ import annotations

from dataclasses import dataclass

from llm_ensemble.engines.draft import DraftSettings
from llm_ensemble.engines.gpu_groups import GPU_GROUPS, MEANING, GpuGroups
from llm_ensemble.settings import number, one_of, setting, switch


@dataclass(frozen=True)
class TensorRtLlmSettings(DraftSettings):
    """CUDA_GRAPHS and ATTENTION_BACKEND are for the PyTorch backend alone."""

    gpu_groups: GpuGroups = setting(
        (),
        GPU_GROUPS,
        MEANING,
    )
    kv_cache_fraction: float = setting(
        0.9,
        number("a number between 0 and 1", lambda value: 0 < value < 1),
        "The part of the GPU memory left by the weights that the KV cache takes.",
    )
    prefix_cache: bool = setting(
        True, switch(), "Whether prompts that begin alike share a part of the KV cache."
    )
    chunked_prefill: bool = setting(
        True,
        switch(),
        "Whether the prefill of a long prompt takes several steps, in which others go on.",
    )
    scheduler_policy: str = setting(
        "GUARANTEED_NO_EVICT",
        one_of("GUARANTEED_NO_EVICT", "MAX_UTILIZATION"),
        "GUARANTEED_NO_EVICT schedules a request when it can end without waiting for memory; MAX_UTILIZATION "
        "schedules as many as fit now, and may pause some and compute them again.",
    )
    cuda_graphs: bool = setting(True, switch(), "Whether the PyTorch backend uses CUDA graphs.")
    # The three that TensorRT-LLM's documentation knows (nvidia.github.io/TensorRT-LLM/torch/attention.html).
    attention_backend: str = setting(
        "TRTLLM", one_of("TRTLLM", "FLASHINFER", "VANILLA"), "The attention kernels of the PyTorch backend."
    )

    @property
    def instances(self) -> int:
        """Instances of the engine stage: one a group of GPUs."""
        return max(1, len(self.gpu_groups))
