# SPDX-License-Identifier: Apache-2.0
"""What of TensorRT-LLM is installed here, by package metadata: importing it takes long and opens CUDA."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence

from build_scripts.build_error import BuildError
from build_scripts.gpu import Gpu, find_gpus

IMAGE = "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3"
ENGINE_BACKEND = "1.2."  # the versions that have it and that the command lines were read from
TENSORRT = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")  # one library, packaged under several names
OTHERS = ("transformers", "torch", "nvidia-modelopt")


def installed(*names: str) -> str | None:
    """The version of the first of these packages that is installed."""
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def default_engine() -> str:
    """tensorrt_llm where the library and a GPU for it are present, else openvino."""
    return "tensorrt_llm" if installed("tensorrt_llm") and find_gpus() else "openvino"


def insist_on_engine_backend(pytorch_too: bool) -> None:
    """Raise BuildError unless TensorRT-LLM 1.2 is here; pytorch_too: whether that is a way out."""
    version = installed("tensorrt_llm")
    other = ", or use --backend pytorch" if pytorch_too else ""
    if version is None:
        raise BuildError(f"TensorRT-LLM is not installed here: build in {IMAGE}{other}")
    if not version.startswith(ENGINE_BACKEND):
        why = "it was removed after 1.2" if _newer(version) else "this was written for 1.2"
        raise BuildError(
            f"TensorRT-LLM {version} is not for building engines ({why}): build and serve in {IMAGE}{other}"
        )


def versions(gpus: Sequence[Gpu]) -> dict[str, str]:
    """What the manifest records; keys are the names one imports. gpu and compute_capability: of the first."""
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
