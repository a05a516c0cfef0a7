# SPDX-License-Identifier: Apache-2.0
"""The stand-ins for trtllm-build, convert_checkpoint.py and quantize.py."""

import json
import os
import subprocess
import sys

import pytest

from tests.fakes import HERE

MODEL = HERE.parents[1] / "models/demo"
BUILD = HERE / "bin/trtllm-build"
OPT = HERE / "app/examples/models/contrib/opt/convert_checkpoint.py"
LLAMA = HERE / "app/examples/models/core/llama/convert_checkpoint.py"
QUANTIZE = HERE / "app/examples/quantization/quantize.py"


def run(command, *arguments):
    env = {**os.environ, "FAKE_TRTLLM_IR": "/some/ir"}
    line = [sys.executable, *map(str, (command, *arguments))]
    return subprocess.run(line, env=env, capture_output=True, text=True)


def read(folder):
    return json.loads((folder / "config.json").read_text())


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "checkpoint"
    done = run(OPT, "--model_dir", MODEL, "--output_dir", folder, "--tp_size", 2, "--use_weight_only")
    assert done.returncode == 0, done.stderr
    return folder


def test_opt_is_converted_into_a_checkpoint_with_a_file_a_rank(checkpoint):
    assert sorted(path.name for path in checkpoint.iterdir()) == [
        "config.json",
        "rank0.safetensors",
        "rank1.safetensors",
    ]
    config = read(checkpoint)
    assert config["quantization"]["quant_algo"] == "W8A16"
    assert config["mapping"]["world_size"] == 2
    assert config["do_layer_norm_before"] is True


def test_a_checkpoint_is_built_into_an_engine_directory(checkpoint, tmp_path):
    flags = ("--max_batch_size", 4, "--max_beam_width", 2, "--gather_generation_logits")
    done = run(BUILD, "--checkpoint_dir", checkpoint, "--output_dir", tmp_path / "engine", *flags)
    assert done.returncode == 0, done.stderr
    config = read(tmp_path / "engine")
    assert set(config) == {"version", "pretrained_config", "build_config"}
    build = config["build_config"]
    assert (build["max_batch_size"], build["max_beam_width"], build["max_seq_len"]) == (4, 2, 512)
    assert build["gather_generation_logits"] is True
    assert "dry_run" not in build
    assert build["plugin_config"]["gemm_plugin"] is None
    for rank in (0, 1):
        assert json.loads((tmp_path / f"engine/rank{rank}.engine").read_text()) == {"openvino_ir": "/some/ir"}


def test_quantize_marks_the_algorithm(tmp_path):
    flags = ("--qformat", "int4_awq", "--kv_cache_dtype", "int8")
    done = run(QUANTIZE, "--model_dir", MODEL, "--output_dir", tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    quantization = read(tmp_path)["quantization"]
    assert (quantization["quant_algo"], quantization["kv_cache_quant_algo"]) == ("W4A16_AWQ", "INT8")
    assert quantization["group_size"] == 128


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (BUILD, ("--max_batch", 4), "unrecognized arguments"),
        (BUILD, ("--gemm_plugin", "int9"), "invalid choice"),
        (BUILD, (), "--checkpoint_dir is required"),
        (BUILD, ("--checkpoint_dir", "/nowhere"), "no such file"),
        (OPT, ("--model_dir", "/nowhere"), "no such file"),
        (OPT, ("--model_dir", MODEL, "--pp_size", 2), "--pp_size must be 1"),
        (OPT, ("--model_dir", MODEL, "--weight_only_precision", "int4_awq"), "invalid choice"),
        (LLAMA, ("--model_dir", MODEL), "cannot convert OPTForCausalLM"),
        (QUANTIZE, ("--model_dir", MODEL, "--qformat", "int3"), "invalid choice"),
    ],
)
def test_a_command_fails_with_a_message(command, arguments, message, tmp_path):
    done = run(command, *arguments, "--output_dir", tmp_path / "output")
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "output").exists()


def test_a_missing_rank_of_a_checkpoint_fails_the_build(checkpoint, tmp_path):
    (checkpoint / "rank1.safetensors").unlink()
    done = run(BUILD, "--checkpoint_dir", checkpoint, "--output_dir", tmp_path / "engine")
    assert done.returncode == 2
    assert "rank1.safetensors" in done.stderr
