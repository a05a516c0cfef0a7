# SPDX-License-Identifier: Apache-2.0
"""What must be set in a process before it imports vLLM, and for what vLLM was built."""

from __future__ import annotations

import contextlib
import locale
import multiprocessing
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

from llm_ensemble.engines.gpu_groups import visible_devices
from llm_ensemble.engines.vllm.settings import VllmSettings

# A served model is on the disk, and docs/security.md promises that no connections are opened.
OFFLINE = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
# Children are spawned: a fork would copy the stub, with its threads and its part of the shared memory.
SPAWN = {"VLLM_WORKER_MULTIPROC_METHOD": "spawn"}


def prepare_process(
    settings: VllmSettings, instance: int, environ: MutableMapping[str, str] = os.environ
) -> None:
    """Make only the GPUs of this instance visible, turn network access off, let children be spawned.

    To be called before the import, since children of a process that has opened CUDA see the same GPUs.
    """
    environ.update(OFFLINE | SPAWN)
    with contextlib.suppress(locale.Error):
        # Python in the stub starts in the C locale whatever LANG is; vLLM opens files in its encoding.
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    if devices := visible_devices(settings.gpu_groups, instance, environ):
        environ["CUDA_VISIBLE_DEVICES"] = devices
    # Triton's stub embeds Python, so a child cannot be started from the file of this process.
    python = Path(sys.prefix, "bin/python3")
    if python.exists():
        multiprocessing.set_executable(str(python))


def is_cpu() -> bool:
    """Return whether this is vLLM's build for CPUs."""
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())
