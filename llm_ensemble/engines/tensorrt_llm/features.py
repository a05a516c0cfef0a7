# SPDX-License-Identifier: Apache-2.0
"""What the tensorrt_llm engine lacks, by its backend."""

from __future__ import annotations

from collections.abc import Mapping

from llm_ensemble.engines.features import Lacks
from llm_ensemble.engines.tensorrt_llm.versions import PYTORCH, READ, sampler_lacks

ENGINE_LACKS: Lacks = dict.fromkeys(
    ("draft engine", "prompt lookup"), "a built engine generates a token a step"
)


def pytorch_lacks(version: str) -> Lacks:
    """Return what the PyTorch backend of a release of TensorRT-LLM lacks."""
    one_width = f"{PYTORCH} searches all requests with one width, so it is left with none; leave it out"
    return {"beam_width": one_width, **sampler_lacks(version)}


LACKS: Mapping[str, Lacks] = {"tensorrt": ENGINE_LACKS, "pytorch": pytorch_lacks(READ)}
