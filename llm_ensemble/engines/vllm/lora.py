# SPDX-License-Identifier: Apache-2.0
"""LoRA adapters with vLLM: what it is told when it loads, which one a request names, which fit a checkpoint.

vLLM computes requests of different adapters in one batch, and its prefix cache tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm_ensemble.engines.vllm.environment import is_cpu
from llm_ensemble.errors import SettingError
from llm_ensemble.lora.adapters import Adapters
from llm_ensemble.lora.checkpoint import checkpoint_layers
from llm_ensemble.manifest import ENGINE, Manifest

# What max_lora_rank may be; 0.23.0 and 0.27.1 have 1 and 320, too.
RANKS = (8, 16, 32, 64, 128, 256, 512)


def lora_arguments(adapters: Adapters, precision: str) -> Mapping[str, Any]:
    """Return the fields of AsyncEngineArgs for adapters; none without any, since LoRA costs speed and memory.

    All are kept in the machine's memory, and as many of them as may be used in one step on the GPU.
    precision: the manifest's. Raises SettingError for one that vLLM's kernels do not take (seen with 0.23.0).
    """
    if not adapters:
        return {}
    if precision == "fp32" and not is_cpu():
        raise SettingError(
            "LORA_DIR: vLLM has adapters on GPUs in fp16 and bf16 alone; build the engine with "
            "--precision fp16"
        )
    # In the CPU build a request without an adapter, beside others that have one, is computed with what is in
    # the last slot (seen with 0.27.1: vllm/lora/ops/torch_ops takes slot -1): so one slot more than there
    # are adapters, which stays empty.
    slots = len(adapters.by_name) + 1 if is_cpu() else adapters.in_memory
    return {
        "enable_lora": True,
        "max_loras": slots,
        "max_cpu_loras": max(len(adapters.by_name), slots),
        "max_lora_rank": next(rank for rank in RANKS if rank >= adapters.rank),
    }


def lora_request(adapters: Adapters, name: str) -> Any:
    """Return vLLM's LoRARequest for an adapter, None for no name."""
    if not name:
        return None
    from vllm.lora.request import LoRARequest

    return LoRARequest(name, adapters.number(name), str(adapters.by_name[name].folder))


def check_adapters(engine_dir: Path, manifest: Manifest, adapters: Adapters) -> None:
    """Raise SettingError for an adapter that does not fit the checkpoint."""
    if adapters.rank > RANKS[-1]:
        large = max(adapters, key=lambda one: one.rank)
        raise SettingError(
            f"adapter {large.folder}: its rank is {large.rank}, with vLLM at most {RANKS[-1]}; take it out "
            "of LORA_DIR"
        )
    adapters.check_no_patterns("vllm")  # 0.27.1 computes with r and lora_alpha alone (seen)
    adapters.check_fit(checkpoint_layers(engine_dir / ENGINE))
