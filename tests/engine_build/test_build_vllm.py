# SPDX-License-Identifier: Apache-2.0
"""Whole builds for vLLM: from a checkpoint to an engine directory, where there is neither vLLM nor a GPU."""

import json
import shutil

import pytest

from llm_ensemble.manifest import read_manifest, tokenizer_sha256
from tests.build_environment import ROOT
from tests.gpu_machine import make_machine
from tests.vllm_environment import run_in_vllm_environment

NOT_VERIFIED = (
    "not verified: vLLM is not installed here; whether vLLM loads it will be seen when it is served"
)


@pytest.fixture
def build_here(build, tmp_path):
    """build_here(model, **options): a build for vLLM into tmp_path/engine, without an nvidia-smi."""

    def run(model, **options):
        environment = {"TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
        return build(env=environment, engine="vllm", model=model, output=tmp_path / "engine", **options)

    return run


def done(result, tmp_path):
    assert result.returncode == 0, result.stdout + result.stderr
    assert not list(tmp_path.glob("build-*.log"))
    return tmp_path / "engine"


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_the_demo_model_becomes_an_engine_as_it_is(build_here, tmp_path):
    result = build_here("models/demo")
    engine = done(result, tmp_path)
    assert "[3/3] weights   fp16" in result.stdout
    assert NOT_VERIFIED in result.stdout.splitlines()
    manifest = read_manifest(engine)
    assert (manifest.engine, manifest.backend, manifest.precision) == ("vllm", None, "fp16")
    assert (manifest.tensor_parallel, manifest.pipeline_parallel, manifest.gpus) == (1, 1, 1)
    assert (manifest.model.name, manifest.model.architecture) == ("demo", "OPTForCausalLM")
    limits = manifest.limits
    assert (limits.max_batch_size, limits.max_seq_len, limits.max_num_tokens) == (256, 512, 8192)
    assert (manifest.defaults.max_tokens, manifest.defaults.end_ids, manifest.defaults.pad_id) == (
        128,
        [0],
        1,
    )
    assert manifest.tokenizer_sha256 == tokenizer_sha256(engine)
    assert {"python", "transformers", "torch"} <= manifest.versions.keys()
    assert "vllm" not in manifest.versions
    assert names(engine) == {"manifest.json", "tokenizer", "engine"}
    assert names(engine / "engine") == {"config.json", "generation_config.json", "model.safetensors"}
    assert {"tokenizer.json", "generation_config.json"} <= names(engine / "tokenizer")
    assert not [path for path in engine.rglob("*") if path.is_symlink()]
    stored = (ROOT / "models/demo/model.safetensors").read_bytes()
    assert (engine / "engine/model.safetensors").read_bytes() == stored


def test_an_engine_for_several_gpus_says_how_they_share_it(build_here, checkpoints, tmp_path):
    options = {"precision": "fp8", "tensor_parallel": 2, "pipeline_parallel": 2, "max_batch_size": 8}
    manifest = read_manifest(done(build_here(checkpoints / "llama", **options), tmp_path))
    assert (manifest.precision, manifest.limits.max_batch_size) == ("fp8", 8)
    assert (manifest.tensor_parallel, manifest.pipeline_parallel, manifest.gpus) == (2, 2, 4)


def test_torch_s_own_weights_are_taken_as_they_are(build_here, checkpoints, tmp_path):
    engine = done(build_here(checkpoints / "opt"), tmp_path)
    assert names(engine / "engine") == {"config.json", "generation_config.json", "pytorch_model.bin"}


def test_a_quantized_checkpoint_is_taken_as_it_is_and_brings_its_precision(build_here, checkpoints, tmp_path):
    model = shutil.copytree(checkpoints / "qwen3", tmp_path / "qwen3")
    told = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
    config = json.loads((model / "config.json").read_bytes())
    (model / "config.json").write_text(json.dumps({**config, "quantization_config": told}))
    engine = done(build_here(model), tmp_path)
    assert read_manifest(engine).precision == "awq"
    assert json.loads((engine / "engine/config.json").read_bytes())["quantization_config"] == told
    assert (engine / "tokenizer/chat_template.jinja").is_file()


def test_what_vllm_cannot_serve_is_refused_before_anything_starts(build_here, checkpoints, tmp_path):
    model = shutil.copytree(checkpoints / "llama", tmp_path / "llama")
    config = json.loads((model / "config.json").read_bytes())
    (model / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "hqq"}}))
    result = build_here(model)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("build: llama is quantized by hqq, and vLLM 0.23 has no method for it")
    assert names(tmp_path) == {"llama"}


def test_a_gpu_without_vllm_and_vllm_without_a_gpu_verify_nothing(build, tmp_path):
    machine = make_machine(tmp_path / "machine")
    order = {"engine": "vllm", "model": "models/demo", "output": tmp_path / "engine"}
    assert NOT_VERIFIED in build(env=machine.environment(), **order).stdout
    machine.install("vllm", "0.23.0")
    machine.set_gpus()
    result = build(env=machine.environment(), **order)
    assert "not verified: 0 of 1 GPU(s) can be seen here" in result.stdout
    assert read_manifest(tmp_path / "engine").versions["vllm"] == "0.23.0"


def test_where_vllm_is_a_build_loads_the_engine_and_lets_it_generate(vllm_engine, tmp_path):
    """vllm_engine: skips this where there is no vLLM for CPUs."""
    order = ("--engine", "vllm", "--model", "models/demo", "--precision", "fp32", "--max-batch-size", "8")
    command = ("-m", "build_scripts.build", *order, "--output", tmp_path / "engine")
    done = run_in_vllm_environment(*command)
    assert done.returncode == 0, done.stdout
    assert "[4/4] verify" in done.stdout
    assert "(8 tokens)" in done.stdout
    assert "not verified" not in done.stdout
    here, elsewhere = read_manifest(tmp_path / "engine"), read_manifest(vllm_engine)
    assert "vllm" in here.versions
    assert here.tokenizer_sha256 == elsewhere.tokenizer_sha256
    no_memory = run_in_vllm_environment(*command, VLLM_CPU_KVCACHE_SPACE="0", GPU_MEMORY_FRACTION="0.000001")
    assert no_memory.returncode == 1
    assert "build: the engine cannot be loaded: " in no_memory.stdout
    assert read_manifest(tmp_path / "engine") == here, "what was there stays"
