# SPDX-License-Identifier: Apache-2.0
"""LoRA adapters with TensorRT-LLM's strict fake: what the library is told, and what is refused.

What it generates is compared in test_lora.py, with a built engine; here a checkpoint's adapters are checked.
"""

import pytest

from llm_ensemble.engines.kinds import check_adapters
from llm_ensemble.engines.tensorrt_llm.lora import lora_config, lora_request
from llm_ensemble.errors import SettingError
from llm_ensemble.lora.adapters import read_adapters
from llm_ensemble.manifest import read_manifest
from llm_ensemble.settings import Settings
from tests.fake_engine import fake_checkpoint, fake_engine


def refused(engine_dir, lora_dir):
    with pytest.raises(SettingError) as error:
        check_adapters(read_manifest(engine_dir), Settings(engine_dir, lora_dir=lora_dir))
    return str(error.value)


def test_an_engine_that_was_built_without_the_plugin_has_no_adapters(demo_engine, lora, tmp_path):
    message = refused(fake_engine(demo_engine, tmp_path / "engine"), lora.adapters)
    assert message.startswith("LORA_DIR: this TensorRT engine was built without lora_plugin")
    assert "build with --backend pytorch" in message


def test_an_engine_has_no_adapters_of_a_higher_rank_than_it_was_built_for(demo_engine, lora, tmp_path):
    folder = fake_engine(demo_engine, tmp_path / "engine", lora_rank=4)
    assert refused(folder, lora.adapters).startswith(
        "LORA_DIR has adapters of rank 8, the TensorRT engine was"
    )


def test_patterns_and_modules_that_the_library_does_not_know_are_refused(demo_engine, lora, tmp_path):
    folder = fake_engine(demo_engine, tmp_path / "engine", lora_rank=8)
    assert "the tensorrt_llm engine has no alpha_pattern" in refused(folder, lora.patterned)
    checkpoint = fake_checkpoint(demo_engine, tmp_path / "checkpoint")
    message = refused(checkpoint, lora.adapters)
    assert "has no adapters for model.decoder.layers.0.fc1, only for q_proj, k_proj" in message


def test_a_checkpoint_is_loaded_with_all_modules_and_the_highest_rank(tensorrt_llm, lora, tmp_path):
    (tmp_path / "7").symlink_to(lora.adapters / "7")
    config = lora_config(read_adapters(tmp_path, 2))["lora_config"]
    assert config.lora_dir == [str(tmp_path / "7")]
    assert config.lora_target_modules == ["attn_q", "attn_v"]
    assert (config.max_lora_rank, config.max_loras, config.max_cpu_loras) == (4, 1, 1)
    assert lora_config(read_adapters(None)) == {}


def test_a_request_names_its_adapter_by_name_number_and_folder(tensorrt_llm, lora):
    adapters = read_adapters(lora.adapters)
    request = lora_request(adapters, "green")["lora_request"]
    assert (request.lora_name, request.lora_int_id) == ("green", 3)
    assert request.lora_path == str(lora.adapters / "green")
    assert lora_request(adapters, "") == {}
