# SPDX-License-Identifier: Apache-2.0
"""Whole builds for GPUs: the command line, from a checkpoint to an engine directory, NVIDIA's parts played.

The fakes check every flag against TensorRT-LLM 1.2's lists; what they write has its layout and holds no
engine.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llm_ensemble.manifest import read_manifest, tokenizer_sha256
from tests.build_environment import BUILD_PYTHON, ROOT
from tests.gpu_machine import EXAMPLES, H100, VERSIONS, make_machine

LIMITS = {"max_seq_len": 128, "max_batch_size": 4, "max_input_len": 100, "max_num_tokens": 64}


@pytest.fixture
def machine(tmp_path):
    return make_machine(tmp_path / "machine")


@pytest.fixture
def build_here(build, machine, tmp_path):
    """build_here(model, **options): a build on the machine, into tmp_path/engine, its log in tmp_path."""

    def run(model, *, env=None, **options):
        environment = {**machine.environment(), "TMPDIR": str(tmp_path), **(env or {})}
        options = {"model": model, "output": tmp_path / "engine", **options}
        return build(env=environment, **options)

    return run


def done(result, tmp_path):
    """The engine directory, and the command lines that were printed."""
    assert result.returncode == 0, result.stdout + result.stderr
    assert not list(tmp_path.glob("build-*.log"))
    return tmp_path / "engine", [
        line.removeprefix("$ ") for line in result.stdout.splitlines() if line[:1] == "$"
    ]


def test_opt_becomes_an_engine_with_everything_serving_needs(build_here, checkpoints, tmp_path):
    result = build_here(checkpoints / "opt", precision="int8", examples=EXAMPLES, **LIMITS)
    engine, (convert, build) = done(result, tmp_path)
    assert f"{EXAMPLES}/models/contrib/opt/convert_checkpoint.py --model_dir {checkpoints}/opt" in convert
    assert "trtllm-build --checkpoint_dir" in build
    assert "[4/4] engine" in result.stdout
    manifest = read_manifest(engine)
    assert (manifest.engine, manifest.backend, manifest.precision) == ("tensorrt_llm", "tensorrt", "int8")
    assert (manifest.tensor_parallel, manifest.model.architecture) == (1, "OPTForCausalLM")
    assert LIMITS.items() <= {name: getattr(manifest.limits, name) for name in LIMITS}.items()
    assert manifest.defaults.end_ids == [2]
    assert manifest.tokenizer_sha256 == tokenizer_sha256(engine)
    assert manifest.versions.items() >= VERSIONS.items()
    assert {"python", "transformers", "torch"} <= manifest.versions.keys()
    assert {path.name for path in engine.iterdir()} == {"manifest.json", "tokenizer", "engine"}
    assert {path.name for path in (engine / "engine").iterdir()} == {"config.json", "rank0.engine"}
    assert {"tokenizer.json", "generation_config.json"} <= {p.name for p in (engine / "tokenizer").iterdir()}
    config = json.loads((engine / "engine/config.json").read_bytes())
    assert config["pretrained_config"]["quantization"]["quant_algo"] == "W8A16"
    assert LIMITS.items() <= config["build_config"].items()
    assert config["build_config"]["gather_generation_logits"] is False


@pytest.mark.parametrize(
    ("precision", "algorithm"),
    [("fp8", "FP8"), ("int4_awq", "W4A16_AWQ"), ("smoothquant", "W8A8_SQ_PER_CHANNEL")],
)  # fmt: skip
def test_llama_is_quantized_on_the_way_for_two_gpus(
    build_here, checkpoints, machine, tmp_path, precision, algorithm
):
    machine.set_gpus(H100, H100)
    options = {"precision": precision, "tensor_parallel": 2, "log_probs": True}
    result = build_here(checkpoints / "llama", examples=EXAMPLES, calib_dataset="/data/texts", **options)
    engine, (convert, _) = done(result, tmp_path)
    assert f"{EXAMPLES}/quantization/quantize.py" in convert
    config = json.loads((engine / "engine/config.json").read_bytes())
    assert config["pretrained_config"]["quantization"]["quant_algo"] == algorithm
    assert config["build_config"]["gather_generation_logits"] is True
    assert (engine / "engine/rank1.engine").is_file()
    assert read_manifest(engine).tensor_parallel == 2


def test_the_printed_lines_can_be_run_alone(build_here, checkpoints, machine, tmp_path):
    _, lines = done(build_here(checkpoints / "opt", examples=EXAMPLES), tmp_path)
    environment = {**os.environ, **machine.environment()}
    for line in lines:
        subprocess.run(line, shell=True, env=environment, check=True, capture_output=True, cwd=tmp_path)
    assert (tmp_path / ".engine.building/engine/rank0.engine").is_file()


def test_a_checkpoint_for_the_pytorch_backend_is_taken_as_it_is(build_here, checkpoints, tmp_path):
    engine, lines = done(build_here(checkpoints / "qwen3"), tmp_path)
    assert lines == []
    manifest = read_manifest(engine)
    assert (manifest.backend, manifest.precision) == ("pytorch", "bf16")
    assert manifest.defaults.end_ids == [1]
    files = {path.name for path in (engine / "engine").iterdir()}
    assert files == {"config.json", "generation_config.json", "model.safetensors"}
    weights = checkpoints / "qwen3/model.safetensors"
    assert (engine / "engine/model.safetensors").read_bytes() == weights.read_bytes()
    assert (engine / "tokenizer/chat_template.jinja").is_file()


def test_a_checkpoint_that_modelopt_quantized_brings_its_own_precision(build_here, checkpoints, tmp_path):
    model = shutil.copytree(checkpoints / "llama", tmp_path / "llama")
    told = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}
    (model / "hf_quant_config.json").write_text(json.dumps(told))
    engine, _ = done(build_here(model, backend="pytorch"), tmp_path)
    assert read_manifest(engine).precision == "fp8"
    assert json.loads((engine / "engine/hf_quant_config.json").read_bytes()) == told


def test_weights_that_are_no_safetensors_are_refused_by_the_pytorch_backend(
    build_here, checkpoints, tmp_path
):
    model = shutil.copytree(checkpoints / "llama", tmp_path / "llama")
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    result = build_here(model, backend="pytorch")
    assert result.returncode == 1
    assert result.stderr == (
        "build: llama has no model*.safetensors, which the PyTorch backend needs: save it again with "
        "transformers' save_pretrained\n"
    )


def test_what_cannot_be_built_is_refused_before_anything_starts(build_here, checkpoints, tmp_path):
    result = build_here(checkpoints / "opt", precision="fp8", examples=EXAMPLES)
    told = "build: OPT has no fp8 engine; int8 is the nearest: --precision int8\n"
    assert (result.returncode, result.stdout, result.stderr) == (1, "", told)
    assert not list(tmp_path.glob("*engine*"))
    assert not list(tmp_path.glob("build-*.log"))


def test_without_nvidia_s_scripts_their_image_is_named(build_here, checkpoints):
    result = build_here(checkpoints / "opt")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(
        "build: /app/examples/models/contrib/opt/convert_checkpoint.py is not here"
    )
    assert "26.07-trtllm-python-py3" in result.stderr


@pytest.fixture
def own_script(tmp_path):
    """own_script(code): examples whose convert_checkpoint.py of OPT is that code."""

    def write(code):
        script = tmp_path / "examples/models/contrib/opt/convert_checkpoint.py"
        script.parent.mkdir(parents=True)
        script.write_text(code)
        return tmp_path / "examples"

    return write


def test_a_command_that_fails_leaves_its_last_words_and_the_log(
    build_here, checkpoints, own_script, tmp_path
):
    examples = own_script("print('reading'); raise MemoryError('CUDA out of memory')")
    result = build_here(checkpoints / "opt", examples=examples)
    assert result.returncode == 1
    *said, last = result.stderr.splitlines()
    assert any("CUDA out of memory" in line for line in said)
    (log,) = tmp_path.glob("build-*.log")
    assert last == (
        "build: convert_checkpoint.py ended with exit code 1: it ran out of memory: free the GPU, give "
        f"smaller limits or more --tensor-parallel (everything is in {log})"
    )
    assert "reading" in log.read_text()
    assert not list(tmp_path.glob("*engine"))


def test_a_command_that_makes_nothing_is_noticed(build_here, checkpoints, machine, tmp_path):
    tool = machine.bin / "trtllm-build"
    tool.write_text(f"#!{sys.executable}\n")
    tool.chmod(0o755)
    result = build_here(checkpoints / "opt", examples=EXAMPLES)
    assert result.returncode == 1
    assert result.stderr == (
        "build: the build ended well and made no engine/config.json: please report it with its output\n"
    )


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_build_that_is_stopped_ends_the_command_and_leaves_nothing(
    checkpoints, machine, own_script, tmp_path, number, status
):
    pid_file = tmp_path / "pid"
    examples = own_script(
        f"import os, time\nopen({str(pid_file)!r}, 'w').write(str(os.getpid()))\ntime.sleep(300)"
    )
    arguments = ("--model", checkpoints / "opt", "--output", tmp_path / "engine", "--examples", examples)
    environment = {**os.environ, **machine.environment(), "TMPDIR": str(tmp_path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [BUILD_PYTHON, "-m", "build_scripts.build", *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as process:
        while not pid_file.exists() or not pid_file.read_text():
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (status, "build: interrupted: nothing was written\n")
    with contextlib.suppress(FileNotFoundError):
        state = Path(f"/proc/{pid_file.read_text()}/stat").read_text().rpartition(")")[2].split()[0]
        assert state == "Z"
    assert not [path for path in tmp_path.iterdir() if "engine" in path.name or path.suffix == ".log"]
