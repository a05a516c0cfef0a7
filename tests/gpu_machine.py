# SPDX-License-Identifier: Apache-2.0
"""A machine with NVIDIA GPUs and NVIDIA's image, as far as a build and preflight look: files in a folder."""

import os
from dataclasses import dataclass
from pathlib import Path

from build_scripts.gpu import Gpu
from build_scripts.tritonserver import ROOT
from tests import fakes

H100 = "NVIDIA H100 80GB HBM3, 9.0, 81559 MiB"
A100 = "NVIDIA A100-SXM4-40GB, 8.0, 40960 MiB"
T4 = "Tesla T4, 7.5, 15360 MiB"
# What a build on a machine of make_machine's records of it.
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
    """bin goes on the PATH, packages on Python's."""

    bin: Path
    packages: Path

    def set_gpus(self, *lines):
        """What nvidia-smi says of them. It is asked one thing, and knows no other."""
        script = self.bin / "nvidia-smi"
        asked = "--query-gpu=name,compute_cap,memory.total --format=csv,noheader"
        script.write_text(
            f'#!/bin/sh\n[ "$*" = "{asked}" ] || exit 2\ncat <<END\n' + "\n".join(lines) + "\nEND\n"
        )
        script.chmod(0o755)

    def install(self, name, version):
        """A package's metadata; one earlier version of it goes."""
        for old in self.packages.glob(f"{name}-*.dist-info"):
            (old / "METADATA").unlink()
            old.rmdir()
        if version:
            info = self.packages / f"{name}-{version}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")

    def environment(self):
        """For a process that runs on this machine."""
        return {
            "PATH": f"{self.bin}:{fakes.HERE / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT}:{self.packages}:{fakes.HERE}",
            "FAKE_TRTLLM_IR": str(self.packages),
            "CUDA_VERSION": "13.1.0.036",
        }


def make_machine(folder: Path) -> Machine:
    """One H100, TensorRT-LLM 1.2.1."""
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
