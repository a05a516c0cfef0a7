# SPDX-License-Identifier: Apache-2.0
"""LoRA as lora_manager.py and executor/request.py of the real one have it (read, main of 2025).

OpenVINO GenAI computes with the adapter, scaled by r and lora_alpha alone: the real one knows no patterns.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import openvino_genai as genai

MODULES = {
    **{"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_dense"},
    **{"gate_proj": "mlp_h_to_4h", "down_proj": "mlp_4h_to_h", "up_proj": "mlp_gate"},
}


@dataclass
class LoRARequest:
    lora_name: str
    lora_int_id: int
    lora_path: str = ""

    def __post_init__(self):
        if not Path(self.lora_path).exists():
            raise ValueError(f"lora_path ({self.lora_path}) does not exist.")


def check_config(config) -> None:
    """Of the PyTorch backend, when it loads."""
    assert len(config.lora_dir) == 1, "Expecting only a single lora dir"
    if unknown := set(config.lora_target_modules) - set(MODULES.values()):
        raise KeyError(f"no modules of the library: {unknown}")


def load(request: LoRARequest, most_rank: int, target_modules) -> genai.AdapterConfig:
    """Return what the pipeline takes. target_modules: the library's names; None where any will do."""
    folder = Path(request.lora_path)
    config = json.loads((folder / "adapter_config.json").read_bytes())
    if config["r"] > most_rank:
        raise ValueError(f"rank {config['r']} of {request.lora_name} exceeds max_lora_rank {most_rank}")
    modules = {MODULES.get(module) for module in config["target_modules"]}
    if target_modules is not None and not modules <= set(target_modules):
        raise ValueError(f"modules of {request.lora_name} are not among {target_modules}")
    scaling = config["lora_alpha"] / (config["r"] ** 0.5 if config["use_rslora"] else config["r"])
    adapter = genai.Adapter(folder / "adapter_model.safetensors")
    return genai.AdapterConfig(adapter, scaling, genai.AdapterConfig.Mode.MODE_STATIC)
