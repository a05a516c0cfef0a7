# SPDX-License-Identifier: Apache-2.0
"""The NVIDIA GPUs of this machine, by nvidia-smi, which does not open CUDA."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Mapping, Sequence

QUERY = ("nvidia-smi", "--query-gpu=name,compute_cap,memory.total", "--format=csv,noheader")
SECONDS = 60  # a driver that has to wake up takes some; a broken one never answers
NO_GPU = "no NVIDIA GPU is to be seen (nvidia-smi lists none): start the container with docker run --gpus all"

# The lowest compute capability that has the arithmetic: since Ampere, Ada, Blackwell.
CAPABILITY = {"bf16": (8, 0), "fp8": (8, 9), "nvfp4": (10, 0)}


@dataclasses.dataclass(frozen=True)
class Gpu:
    """One GPU: its name, its compute capability ("9.0"), its memory in bytes (0 if unknown)."""

    name: str
    compute_capability: str
    memory_bytes: int

    @property
    def capability(self) -> tuple[int, ...]:
        """The compute capability as numbers that can be compared."""
        return tuple(int(part) for part in self.compute_capability.split("."))


def find_gpus() -> list[Gpu]:
    """Return every GPU of the machine in nvidia-smi's order; none if there is no driver or no GPU."""
    try:
        done = subprocess.run(QUERY, capture_output=True, text=True, timeout=SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [gpu for line in done.stdout.splitlines() if (gpu := _read(line)) is not None]


def visible(gpus: Sequence[Gpu], environ: Mapping[str, str] = os.environ) -> list[int]:
    """Return the numbers of the GPUs visible to CUDA: nvidia-smi ignores CUDA_VISIBLE_DEVICES.

    As in CUDA the list ends at the first number that is no GPU. The numbers of GPUs given by name (GPU-...,
    MIG-...) are unknown here: they count as the machine's first.
    """
    listed = environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return list(range(len(gpus)))
    names = [name.strip() for name in listed.split(",")]
    if names[0].startswith(("GPU-", "MIG-")):
        return list(range(min(len(names), len(gpus))))
    numbers: list[int] = []
    for name in names:
        if not name.isdecimal() or int(name) >= len(gpus):
            break
        numbers.append(int(name))
    return numbers


def too_old_for(precision: str, gpus: Sequence[Gpu]) -> Gpu | None:
    """Return the first of the GPUs that cannot compute in this precision, None if all can."""
    least = CAPABILITY.get(precision, (0, 0))
    return next((gpu for gpu in gpus if gpu.capability < least), None)


def _read(line: str) -> Gpu | None:
    """Parse a line like `NVIDIA H100 80GB HBM3, 9.0, 81559 MiB`; return None for any other."""
    name, *numbers = (part.strip() for part in line.rsplit(",", 2))
    if len(numbers) != 2 or not all(part.isdecimal() for part in numbers[0].split(".")):
        return None
    amount = numbers[1].partition(" ")[0]
    return Gpu(name, numbers[0], int(amount) * 2**20 if amount.isdecimal() else 0)
