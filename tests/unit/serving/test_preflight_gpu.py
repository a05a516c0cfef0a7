# SPDX-License-Identifier: Apache-2.0
"""Preflight of an engine for GPUs: what passes, and every refusal in one line that says what to do."""

import contextlib
import json

import msgspec
import pytest

from llm_ensemble.manifest import tokenizer_sha256, write_manifest
from serving.preflight.checks import PreflightError, preflight
from serving.preflight.space import check_shared_memory
from serving.tritonserver import free_ports
from tests.gpu_machine import A100, H100

MODEL = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "hidden_size": 64,
    "dtype": "float16",
    "torch_dtype": "float16",
}
BUILT_WITH = {
    "tensorrt_llm": "1.2.1",
    "tensorrt": "10.14.1.48",
    "gpu": "NVIDIA H100 80GB HBM3",
    "compute_capability": "9.0",
}


class EngineDirectory:
    """One that preflight takes on the machine of the fixture gpu_machine, to be changed."""

    def __init__(self, folder, manifest, tokenizer, backend):
        self.folder = folder
        (folder / "engine").mkdir(parents=True)
        (folder / "tokenizer").mkdir()
        tokenizer.save(str(folder / "tokenizer/tokenizer.json"))
        pytorch = backend == "pytorch"
        config = MODEL if pytorch else {"pretrained_config": MODEL}
        (folder / "engine/config.json").write_text(json.dumps(config))
        self.weights("model.safetensors" if pytorch else "rank0.engine", 1000)
        self.manifest = msgspec.structs.replace(
            manifest,
            engine="tensorrt_llm",
            backend=backend,
            versions=BUILT_WITH,
            tokenizer_sha256=tokenizer_sha256(folder),
        )
        self.change()

    def weights(self, name, size):
        with (self.folder / "engine" / name).open("wb") as file:
            file.truncate(size)

    def change(self, **changes):
        self.manifest = msgspec.structs.replace(self.manifest, **changes)
        write_manifest(self.folder, self.manifest)

    def check(self):
        return preflight(self.folder, free_ports())


@pytest.fixture
def made(tmp_path, manifest, byte_tokenizer, gpu_machine):
    """An engine of the TensorRT backend."""
    return EngineDirectory(tmp_path / "engine", manifest, byte_tokenizer, "tensorrt")


@pytest.fixture
def checkpoint(tmp_path, manifest, byte_tokenizer, gpu_machine):
    """A checkpoint for the PyTorch backend."""
    return EngineDirectory(tmp_path / "checkpoint", manifest, byte_tokenizer, "pytorch")


def test_an_engine_passes_where_it_was_built(made):
    assert made.check() == made.manifest


def test_a_checkpoint_passes_on_other_gpus_and_versions(checkpoint, gpu_machine):
    gpu_machine.set_gpus(A100)
    gpu_machine.install("tensorrt_llm", "1.3.0")
    gpu_machine.install("tensorrt", None)
    assert checkpoint.check() == checkpoint.manifest


def test_instances_each_on_their_own_gpus_pass(made, gpu_machine, monkeypatch):
    gpu_machine.set_gpus(H100, H100, H100, H100)
    made.change(tensor_parallel=2)
    made.weights("rank1.engine", 1000)
    monkeypatch.setenv("GPU_GROUPS", "0,1;2,3")
    assert made.check()


def test_of_several_gpus_only_those_that_serve_must_fit(made, gpu_machine, monkeypatch):
    gpu_machine.set_gpus(A100, H100)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert made.check()
    monkeypatch.setenv("GPU_GROUPS", "0")  # the first of those that are visible
    assert made.check()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("GPU_GROUPS", "1")
    assert made.check()


def gpus(*lines):
    return lambda made, machine, setenv: machine.set_gpus(*lines)


def install(name, version):
    return lambda made, machine, setenv: machine.install(name, version)


def manifest_of(**changes):
    return lambda made, machine, setenv: made.change(**changes)


def without(name):
    return lambda made, machine, setenv: (made.folder / name).unlink()


def environment(**variables):
    def do(made, machine, setenv):
        machine.set_gpus(H100, H100)
        for name, value in variables.items():
            setenv(name, value)

    return do


def two_gpus_of_one(made, machine, setenv):
    made.weights("rank1.engine", 1000)
    made.change(tensor_parallel=2)


def another_tokenizer(made, machine, setenv):
    (made.folder / "tokenizer/tokenizer.json").open("a").write(" ")


def too_large(made, machine, setenv):
    made.weights("rank0.engine", 90 * 10**9)


def room_for_no_request(made, machine, setenv):
    made.weights("rank0.engine", 81559 * 2**20 - 2000)


def nothing_in_config(made, machine, setenv):
    (made.folder / "engine/config.json").write_text("{}")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (install("tensorrt_llm", "1.2.0"), "with TensorRT-LLM 1.2.1, here is 1.2.0: build it again here"),
        (install("tensorrt_llm", "1.3.0"), "built with TensorRT-LLM 1.2.1, here is 1.3.0: .*26.07-trtllm"),
        (install("tensorrt", "10.15.0.1"), "with TensorRT 10.14.1.48, here is 10.15.0.1: build it again"),
        (install("tensorrt", None), "built with TensorRT 10.14.1.48, here is none"),
        (gpus(A100), r"built on NVIDIA H100.*9\.0\), here is NVIDIA A100.*\(8\.0\): build it again on this"),
        (gpus(), "no NVIDIA GPU is to be seen .*--gpus all$"),
        (environment(CUDA_VISIBLE_DEVICES=""), "no NVIDIA GPU is to be seen"),
        (without("engine/rank0.engine"), "has no engine/rank0.engine: build the engine again$"),
        (without("engine/config.json"), "has no engine/config.json: build the engine again$"),
        (manifest_of(tensor_parallel=2), "has no engine/rank1.engine: build the engine again$"),
        (without("tokenizer/tokenizer.json"), "has no tokenizer/tokenizer.json"),
        (another_tokenizer, "is not the tokenizer the engine was built with: restore it, or build"),
        (two_gpus_of_one, "is for 2 GPUs, 1 can be seen: give .*or build it with --tensor-parallel 1$"),
        (environment(GPU_GROUPS="0,1"), "^GPU_GROUPS=0,1: the engine is for 1 GPU.*each group must have 1$"),
        (environment(GPU_GROUPS="0;2"), "^GPU_GROUPS=0;2: there is no GPU 2; 2 can be seen, counted from 0$"),
        (environment(GPU_GROUPS="1", CUDA_VISIBLE_DEVICES="1"), "there is no GPU 1; 1 can be seen"),
        (environment(GPU_GROUPS="a"), "^GPU_GROUPS must be GPU numbers"),
        (environment(KV_CACHE_FRACTION="2"), "^KV_CACHE_FRACTION must be a number between 0 and 1"),
        (too_large, "^the GPU memory is too small: .*weights 90.0 GB.* or more --tensor-parallel$"),
        (room_for_no_request, "too small: .*room for 3 tokens; one request may have 64"),
        (nothing_in_config, "config.json does not describe a model .*build the engine again$"),
        (manifest_of(backend="cpp"), "backend 'cpp' of tensorrt_llm; .* serves tensorrt and pytorch$"),
        (manifest_of(precision="nvfp4"), r"nvfp4 needs compute capability 10\.0, .*H100.* has 9\.0: build"),
    ],
)  # fmt: skip
def test_an_engine_that_cannot_be_served_here_is_refused_in_one_line(
    made, gpu_machine, monkeypatch, damage, told
):
    damage(made, gpu_machine, monkeypatch.setenv)
    with pytest.raises(PreflightError, match=told) as caught:
        made.check()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (without("engine/model.safetensors"), r"has no engine/\*\.safetensors: build the engine again$"),
        (without("engine/config.json"), "has no engine/config.json"),
        (gpus(), "no NVIDIA GPU is to be seen"),
        (manifest_of(tensor_parallel=2), "is for 2 GPUs, 1 can be seen"),
    ],
)
def test_a_checkpoint_that_cannot_be_served_here_is_refused_in_one_line(
    checkpoint, gpu_machine, monkeypatch, damage, told
):
    damage(checkpoint, gpu_machine, monkeypatch.setenv)
    with pytest.raises(PreflightError, match=told):
        checkpoint.check()


@pytest.mark.parametrize("backend", ["tensorrt", "pytorch"])
def test_without_tensorrt_llm_the_image_that_has_it_is_named(tmp_path, manifest, byte_tokenizer, backend):
    found = EngineDirectory(tmp_path / "engine", manifest, byte_tokenizer, backend)
    with pytest.raises(PreflightError, match=r"^tensorrt_llm is not installed for .*26.07-trtllm"):
        found.check()


def test_a_gpu_whose_driver_tells_no_size_is_left_to_the_engine(made, gpu_machine):
    gpu_machine.set_gpus("NVIDIA GB10, 9.0, [N/A]")
    made.weights("rank0.engine", 90 * 10**9)
    assert made.check()


@pytest.mark.parametrize(
    ("free_mb", "instances", "tensor_parallel", "enough"),
    [
        (64, 1, 1, True),  # what Docker gives
        (64, 3, 1, True),
        (64, 4, 1, False),
        (31, 1, 1, False),
        (64, 1, 2, False),
        (1024, 1, 2, True),  # what is advised
        (1024, 4, 2, True),
    ],
)
def test_dev_shm_must_hold_the_python_steps_and_what_nccl_needs(
    monkeypatch, free_mb, instances, tensor_parallel, enough
):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(4))
    told = rf"has {free_mb} MiB free, \d+ are needed: .*--shm-size=1g"
    with contextlib.nullcontext() if enough else pytest.raises(PreflightError, match=told):
        check_shared_memory(free_mb * 2**20, instances, tensor_parallel)
