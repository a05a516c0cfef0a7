# SPDX-License-Identifier: Apache-2.0
"""Versions of the installed TensorRT-LLM, from package metadata: importing it takes long and opens CUDA."""

from __future__ import annotations

import importlib.metadata

IMAGE = "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3"
TENSORRT = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")  # one library, packaged under several names


def installed(*names: str) -> str | None:
    """Return the version of the first of these packages that is installed; None if none is."""
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
