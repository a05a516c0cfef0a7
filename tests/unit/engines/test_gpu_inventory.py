# SPDX-License-Identifier: Apache-2.0
"""The GPUs of the machine and what is installed for them, as a build and preflight see them."""

import pytest

from build_scripts.command_line import parse
from build_scripts.tensorrt_llm.installed import versions
from llm_ensemble.engines.gpu_inventory import Gpu, find_gpus, visible
from tests.gpu_machine import A100, H100, VERSIONS

FOUR = [Gpu("NVIDIA A100", "8.0", 0)] * 4


def test_gpus_are_read_from_what_nvidia_smi_prints(gpu_machine):
    gpu_machine.set_gpus(H100, A100, "NVIDIA GB10, 12.1, [N/A]", "No devices were found", "")
    assert find_gpus() == [
        Gpu("NVIDIA H100 80GB HBM3", "9.0", 81559 * 2**20),
        Gpu("NVIDIA A100-SXM4-40GB", "8.0", 40960 * 2**20),
        Gpu("NVIDIA GB10", "12.1", 0),
    ]
    assert find_gpus()[2].capability > find_gpus()[0].capability


def test_no_driver_is_no_gpu(gpu_machine, monkeypatch):
    (gpu_machine.bin / "nvidia-smi").write_text("#!/bin/sh\necho it is broken; exit 9\n")
    assert find_gpus() == []
    monkeypatch.setenv("PATH", str(gpu_machine.packages))
    assert find_gpus() == []


@pytest.mark.parametrize(
    ("listed", "numbers"),
    [
        (None, [0, 1, 2, 3]),
        ("", []),
        ("2,1", [2, 1]),
        ("1,9,2", [1]),
        ("-1", []),
        ("NoDevFiles", []),
        ("GPU-1a2b,GPU-3c4d", [0, 1]),
        ("MIG-1a2b", [0]),
    ],
)
def test_what_cuda_would_show(listed, numbers):
    assert visible(FOUR, {} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}) == numbers


def test_the_default_engine_is_the_one_that_can_run(gpu_machine):
    order = ["--model", "m", "--output", "e"]
    assert parse(order).engine == "tensorrt_llm"
    gpu_machine.set_gpus()
    assert parse(order).engine == "openvino"
    assert parse([*order, "--engine", "tensorrt_llm"]).engine == "tensorrt_llm"
    gpu_machine.set_gpus(H100)
    gpu_machine.install("tensorrt_llm", None)
    assert parse(order).engine == "openvino"


def test_the_versions_are_those_of_the_image_and_of_the_first_gpu(gpu_machine):
    found = versions(find_gpus())
    assert found.items() >= VERSIONS.items()
    assert "python" in found
    assert "gpu" not in versions([])
