# SPDX-License-Identifier: Apache-2.0
"""The versions of TensorRT-LLM and its libraries that a build runs with."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

from build_scripts.errors import BuildError
from llm_ensemble.engines.gpu_inventory import Gpu
from llm_ensemble.engines.tensorrt_llm.installed import IMAGE, TENSORRT, installed

ENGINE_BACKEND = "1.2."  # the versions whose command lines are in command_lines.py
OTHERS = ("transformers", "torch", "nvidia-modelopt")


def require_engine_backend(pytorch_too: bool) -> None:
    """Raise BuildError unless TensorRT-LLM 1.2 is installed. pytorch_too: advise --backend pytorch."""
    version = installed("tensorrt_llm")
    other = ", or use --backend pytorch" if pytorch_too else ""
    if version is None:
        raise BuildError(f"TensorRT-LLM is not installed here: build in {IMAGE}{other}")
    if not version.startswith(ENGINE_BACKEND):
        why = (
            "its last release is 1.3.0rc20; the commands here are those of 1.2"
            if _newer(version)
            else "this was written for 1.2"
        )
        raise BuildError(
            f"TensorRT-LLM {version} is not for building engines ({why}): build and serve in {IMAGE}{other}"
        )


def versions(gpus: Sequence[Gpu]) -> dict[str, str]:
    """Return the manifest's versions by import name; gpu and compute_capability are the first GPU's."""
    found = {"python": platform.python_version()}
    found |= {name.replace("-", "_"): version for name in OTHERS if (version := installed(name))}
    told = {
        "tensorrt_llm": installed("tensorrt_llm"),
        "tensorrt": installed(*TENSORRT),
        "cuda": os.environ.get("CUDA_VERSION"),  # NVIDIA's images set it
        "gpu": gpus[0].name if gpus else None,
        "compute_capability": gpus[0].compute_capability if gpus else None,
    }
    return found | {name: version for name, version in told.items() if version}


def _newer(version: str) -> bool:
    major, minor = [*version.split("."), "0"][:2]
    return not (major.isdecimal() and minor.isdecimal()) or (int(major), int(minor)) > (1, 2)
