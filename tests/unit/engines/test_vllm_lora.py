# SPDX-License-Identifier: Apache-2.0
"""What vLLM is told of adapters; no vLLM."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from llm_ensemble.engines.vllm import lora
from llm_ensemble.errors import SettingError
from llm_ensemble.lora.adapters import Adapters, read_adapters


@pytest.fixture
def adapters(tmp_path):
    """Four adapters of rank 2."""
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 8, "target_modules": ["fc1"], "bias": "none"}
    names = [f"base_model.model.fc1.lora_{one}.weight" for one in "AB"]
    for number in range(4):
        folder = tmp_path / f"adapter-{number}"
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps(config))
        ones = np.ones((2, 2), np.float32)
        save_file(dict.fromkeys(names, ones), folder / "adapter_model.safetensors")
    return read_adapters(tmp_path, 2)


@pytest.mark.parametrize(("is_cpu", "slots"), [(False, 2), (True, 5)])
def test_as_many_adapters_have_room_as_one_step_may_use_and_in_the_build_for_cpus_all(
    adapters, monkeypatch, is_cpu, slots
):
    monkeypatch.setattr(lora, "is_cpu", lambda: is_cpu)
    told = lora.lora_arguments(adapters, "fp16")
    assert (told["max_loras"], told["max_cpu_loras"], told["max_lora_rank"]) == (slots, max(slots, 4), 8)
    assert lora.lora_arguments(Adapters(), "fp32") == {}


def test_an_engine_in_fp32_is_refused_on_gpus_alone(adapters, monkeypatch):
    monkeypatch.setattr(lora, "is_cpu", lambda: False)
    with pytest.raises(SettingError, match="^LORA_DIR: .* build the engine with --precision fp16$"):
        lora.lora_arguments(adapters, "fp32")
    monkeypatch.setattr(lora, "is_cpu", lambda: True)
    assert lora.lora_arguments(adapters, "fp32")["enable_lora"]
