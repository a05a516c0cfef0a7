# SPDX-License-Identifier: Apache-2.0
"""Adapters are read strictly: what would change the arithmetic unseen is refused, in one line."""

import json
import math

import numpy as np
import pytest
from safetensors.numpy import load, save_file

from llm_ensemble.errors import SettingError
from llm_ensemble.lora.adapter import read_adapter, read_scaled
from llm_ensemble.lora.adapters import read_adapters
from llm_ensemble.lora.checkpoint import checkpoint_layers

MODULE = "model.layers.1.q_proj"
NAMES = {one: f"base_model.model.{MODULE}.lora_{one}.weight" for one in "AB"}
CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 8, "target_modules": ["q_proj"], "bias": "none"}
A, B = np.arange(8, dtype=np.float32).reshape(2, 4), np.arange(6, dtype=np.float32).reshape(3, 2)


@pytest.fixture
def write(tmp_path):
    """Write an adapter with changes to its config and its tensors; None takes one away."""

    def write(name="mine", tensors=None, **config):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, **config}))
        all_tensors = {NAMES["A"]: A, NAMES["B"]: B, **(tensors or {})}
        kept = {key: value for key, value in all_tensors.items() if value is not None}
        save_file(kept, folder / "adapter_model.safetensors")
        return folder

    return write


def refused(read, *arguments):
    with pytest.raises(SettingError) as error:
        read(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("config", "scaling"),
    [
        ({}, 4),
        ({"use_rslora": True}, 8 / math.sqrt(2)),
        ({"alpha_pattern": {"q_proj": 6}}, 3),
        ({"alpha_pattern": {r"layers\.\d\.q_proj": 6}}, 3),
        ({"alpha_pattern": {"k_proj": 6, "_proj": 7}}, 4),
    ],
)
def test_the_scaling_is_pefts(write, config, scaling):
    adapter = read_adapter(write(**config))
    assert adapter.scaling(MODULE) == pytest.approx(scaling)
    assert load(read_scaled(adapter))[NAMES["B"]] == pytest.approx(B * scaling)
    assert (load(read_scaled(adapter))[NAMES["A"]] == A).all()


def test_shapes_and_rank_are_the_tensors(write):
    adapter = read_adapter(write())
    assert adapter.rank == 2
    assert adapter.modules == {MODULE: (2, 4, 3)}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type 'IA3' is not served"),
        ({"bias": "lora_only"}, "bias 'lora_only' is not served"),
        ({"use_dora": True}, "use_dora is not served"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is not served (['lm_head'])"),
        ({"layer_replication": [[0, 2]]}, "layer_replication is not served"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices is not served"),
        ({"some_new_option": 1}, "some_new_option is not served"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa' has changed the model's own weights"),
        ({"lora_alpha": "x"}, "lora_alpha is no number"),
    ],
)
def test_options_that_change_the_arithmetic_are_refused_by_name(write, config, message):
    assert message in refused(read_adapter, write(**config))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({NAMES["B"]: None}, f"A and B of {MODULE} do not belong together"),
        ({NAMES["B"]: np.zeros((3, 5), np.float32)}, f"A and B of {MODULE} do not belong together"),
        ({NAMES["A"]: None, NAMES["B"]: None}, "there are no tensors in it"),
        ({"base_model.model.wte.lora_embedding_A": A}, "tensor base_model.model.wte.lora_embedding_A"),
        ({f"base_model.model.{MODULE}.lora_magnitude_vector": A[0]}, "lora_magnitude_vector"),
        ({NAMES["A"]: A.astype(np.int8)}, "(I8, [2, 4]) is not served"),
    ],
)
def test_tensors_that_are_not_a_and_b_of_linear_layers_are_refused(write, tensors, message):
    assert message in refused(read_adapter, write(tensors=tensors))


def test_a_folder_that_is_incomplete_or_damaged_is_refused(write, tmp_path):
    folder = write()
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    assert "adapter_model.safetensors is damaged" in refused(read_adapter, folder)
    weights.unlink()
    assert "save it with PEFT's save_pretrained" in refused(read_adapter, folder)
    (folder / "adapter_config.json").write_text("[]")
    assert "is damaged" in refused(read_adapter, folder)


def test_the_folder_of_adapters_must_be_one_and_have_some(write, tmp_path):
    assert "cannot be read (No such file or directory)" in refused(read_adapters, tmp_path / "none")
    assert "has no adapters" in refused(read_adapters, tmp_path)
    assert "MAX_LORAS has no effect without LORA_DIR" in refused(read_adapters, None, 3)
    write("mine")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "README.md").write_text("")
    assert [*read_adapters(tmp_path).by_name] == ["mine"]
    write("größe")
    assert "the folder 'größe', which cannot be an adapter's name" in refused(read_adapters, tmp_path)


def test_an_adapter_must_fit_the_model(write, tmp_path):
    write()
    adapters = read_adapters(tmp_path)
    adapters.check_fit({MODULE: (4, 3)})
    adapters.check_fit({MODULE: None})
    assert f"{MODULE} is 4 x 4 in the model and 4 x 3" in refused(adapters.check_fit, {MODULE: (4, 4)})
    other = MODULE.replace("1", "2")
    assert f"no linear layer {MODULE} (it has {other})" in refused(adapters.check_fit, {other: (4, 3)})


def test_a_checkpoints_layers_are_those_with_weights_of_two_dimensions(tmp_path):
    tensors = {
        **{"a.weight": np.zeros((3, 4), np.float16), "norm.weight": np.zeros(3, np.float16)},
        **{"a.bias": np.zeros(3, np.float16), "b.qweight": np.zeros((1, 4), np.int32)},
    }
    save_file(tensors, tmp_path / "model.safetensors")
    assert checkpoint_layers(tmp_path) == {"a": (4, 3), "b": None}


def test_numbers_and_the_count_in_memory(write, tmp_path):
    for name in "abcdefghij":
        write(name)
    assert read_adapters(tmp_path).number("c") == 3
    assert [read_adapters(tmp_path, most).in_memory for most in (0, 3, 50)] == [8, 3, 10]
