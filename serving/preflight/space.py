# SPDX-License-Identifier: Apache-2.0
"""What serving writes to: /dev/shm, by which the stages communicate, and a temporary folder."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from serving.errors import PreflightError
from serving.plain_paths import SHARED_MEMORY, scratch
from serving.server_environment import postprocessing_instances

OTHER_STEPS = 2  # preprocessing, ensemble_unary; of the engine stage and postprocessing there may be several
# An instance begins with 1 MB and grows to what is in flight: 256 waiting prompts of 8,192 tokens are 8 MiB.
INSTANCE_BYTES = 8 * 2**20
# NCCL's buffers between GPUs that do not reach each other directly. Docker gives 64 MB, and NVIDIA's advice
# for NCCL in containers is --shm-size=1g.
NCCL_BYTES = 2**30

SCRATCH_BYTES = 2**20  # links and configurations, a few files of some kilobytes; nothing while it serves


def check_space(instances: int, gpus: int) -> None:
    """Check both. Raises PreflightError."""
    check_shared_memory(shutil.disk_usage(SHARED_MEMORY).free, instances, gpus)
    check_scratch()


def check_shared_memory(free: int, instances: int, gpus: int) -> None:
    """Raise PreflightError when `free` bytes of /dev/shm are too few for so many instances of the engine.

    gpus: those of one instance.
    """
    needed = INSTANCE_BYTES * (OTHER_STEPS + instances + postprocessing_instances(instances))
    if gpus > 1:
        needed = max(needed, NCCL_BYTES)
    if free < needed:
        raise PreflightError(
            f"{SHARED_MEMORY} has {free // 2**20} MiB free, {needed // 2**20} are needed: "
            "docker run --shm-size=1g (or --ipc=host)"
        )


def check_scratch() -> None:
    """Write as much to the temporary folder as serving will; raises PreflightError when that fails."""
    try:
        with tempfile.TemporaryDirectory(prefix="llm-ensemble-", dir=scratch()) as folder:
            Path(folder, "scratch").write_bytes(bytes(SCRATCH_BYTES))
    except OSError as error:
        raise PreflightError(
            f"no temporary folder can be written to ({error.strerror}): free a megabyte of "
            f"{tempfile.tempdir or '/tmp'}, or set TMPDIR to a folder that can"
        ) from error
