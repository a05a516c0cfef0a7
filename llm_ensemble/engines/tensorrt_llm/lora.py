# SPDX-License-Identifier: Apache-2.0
"""LoRA adapters with TensorRT-LLM, which computes requests of different ones in one batch.

Written from the facts of TensorRT-LLM 1.2.1 (LoraConfig, generate_async) and from its public source
(lora_manager.py, executor/request.py); it has not run on a GPU yet.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm_ensemble.engines.tensorrt_llm.loading import built_with
from llm_ensemble.errors import SettingError
from llm_ensemble.lora.adapters import Adapters
from llm_ensemble.lora.checkpoint import checkpoint_layers
from llm_ensemble.manifest import ENGINE, Manifest

# The library's names of modules, by those of checkpoints (get_default_trtllm_modules_to_hf_modules).
MODULES = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_dense",
    "gate_proj": "mlp_h_to_4h",
    "down_proj": "mlp_4h_to_h",
    "up_proj": "mlp_gate",
    "gate_up_proj": "mlp_gate_up",
}


def lora_config(adapters: Adapters) -> dict[str, Any]:
    """Return the constructor's arguments for adapters with the PyTorch backend; none without any.

    The library takes one folder, from which it would read the modules if they were not named.
    """
    if not adapters:
        return {}
    try:
        from tensorrt_llm.lora_helper import LoraConfig
    except ImportError:  # before 1.1
        from tensorrt_llm.lora_manager import LoraConfig

    first = next(iter(adapters))
    config = LoraConfig(
        lora_dir=[str(first.folder)],
        lora_target_modules=sorted({MODULES[_last(module)] for one in adapters for module in one.modules}),
        max_lora_rank=adapters.rank,
        max_loras=adapters.in_memory,
        max_cpu_loras=len(adapters.by_name),
    )
    return {"lora_config": config}


def lora_request(adapters: Adapters, name: str) -> dict[str, Any]:
    """Return generate_async's arguments for an adapter; none for no name."""
    if not name:
        return {}
    from tensorrt_llm.executor import LoRARequest

    return {"lora_request": LoRARequest(name, adapters.number(name), str(adapters.by_name[name].folder))}


def check_adapters(engine_dir: Path, manifest: Manifest, adapters: Adapters) -> None:
    """Raise SettingError for adapters that the engine cannot have."""
    adapters.check_no_patterns("tensorrt_llm")
    if manifest.backend != "pytorch":
        _check_engine(engine_dir, adapters)
        return
    for adapter in adapters:
        if odd := next((module for module in adapter.modules if _last(module) not in MODULES), None):
            raise SettingError(
                f"adapter {adapter.folder}: the tensorrt_llm engine has no adapters for {odd}, only for "
                f"{', '.join(MODULES)}; take it out of LORA_DIR"
            )
    adapters.check_fit(checkpoint_layers(engine_dir / ENGINE))


def _check_engine(engine_dir: Path, adapters: Adapters) -> None:
    """Raise SettingError if a TensorRT engine was built without LoRA, or for a lower rank."""
    built = built_with(engine_dir / ENGINE)
    if not (built.get("plugin_config") or {}).get("lora_plugin"):
        raise SettingError(
            "LORA_DIR: this TensorRT engine was built without lora_plugin, so it has no adapters: build with "
            "--backend pytorch, or unset LORA_DIR"
        )
    most = (built.get("lora_config") or {}).get("max_lora_rank", 0)
    if adapters.rank > most:
        raise SettingError(
            f"LORA_DIR has adapters of rank {adapters.rank}, the TensorRT engine was built for {most}: build "
            "with --backend pytorch, or take them out"
        )


def _last(module: str) -> str:
    return module.rpartition(".")[2]
