# SPDX-License-Identifier: Apache-2.0
"""A fake machine with NVIDIA GPUs and NVIDIA's image: the files that a build and preflight read."""

import os
from dataclasses import dataclass
from pathlib import Path

from llm_ensemble.engines.gpu_inventory import Gpu
from serving.tritonserver import ROOT
from tests import fakes

H100 = "NVIDIA H100 80GB HBM3, 9.0, 81559 MiB"
A100 = "NVIDIA A100-SXM4-40GB, 8.0, 40960 MiB"
T4 = "Tesla T4, 7.5, 15360 MiB"
# Recorded by a build on a machine of make_machine.
VERSIONS = {
    "tensorrt_llm": "1.2.1",
    "tensorrt": "10.14.1.48",
    "cuda": "13.1.0.036",
    "gpu": "NVIDIA H100 80GB HBM3",
    "compute_capability": "9.0",
}
EXAMPLES = fakes.HERE / "app/examples"


@dataclass(frozen=True)
class Machine:
    """bin: a folder for PATH. packages: a folder for PYTHONPATH."""

    bin: Path
    packages: Path

    def set_gpus(self, *lines):
        """Write an nvidia-smi that prints these lines, and refuses any query but the one that is made."""
        script = self.bin / "nvidia-smi"
        query = "--query-gpu=name,compute_cap,memory.total --format=csv,noheader"
        script.write_text(
            f'#!/bin/sh\n[ "$*" = "{query}" ] || exit 2\ncat <<END\n' + "\n".join(lines) + "\nEND\n"
        )
        script.chmod(0o755)

    def install(self, name, version):
        """Write a package's metadata in place of an earlier version; without a version remove it."""
        for old in self.packages.glob(f"{name}-*.dist-info"):
            (old / "METADATA").unlink()
            old.rmdir()
        if version:
            info = self.packages / f"{name}-{version}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")

    def environment(self):
        """Return the environment variables of a process on this machine."""
        return {
            "PATH": f"{self.bin}:{fakes.HERE / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT}:{self.packages}:{fakes.HERE}",
            "FAKE_TRTLLM_IR": str(self.packages),
            "CUDA_VERSION": "13.1.0.036",
        }


def make_machine(folder: Path) -> Machine:
    """Make a machine with one H100 and TensorRT-LLM 1.2.1 in `folder`."""
    machine = Machine(folder / "bin", folder / "packages")
    machine.bin.mkdir(parents=True)
    machine.packages.mkdir()
    machine.set_gpus(H100)
    machine.install("tensorrt_llm", "1.2.1")
    machine.install("tensorrt", "10.14.1.48")
    return machine


def gpu(line: str) -> Gpu:
    name, capability, memory = line.split(", ")
    return Gpu(name, capability, int(memory.removesuffix(" MiB")) * 2**20)
