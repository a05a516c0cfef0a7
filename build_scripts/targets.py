# SPDX-License-Identifier: Apache-2.0
"""The engine kinds that an engine directory can be built for."""

from __future__ import annotations

from build_scripts.openvino.build import build_for_cpus
from build_scripts.openvino.compress import PRECISIONS as CPU_PRECISIONS
from build_scripts.target import Target
from build_scripts.tensorrt_llm.build import OPTIONS, build_for_gpus
from build_scripts.tensorrt_llm.families import PRECISIONS as GPU_PRECISIONS
from build_scripts.vllm.build import OPTIONS as VLLM_OPTIONS
from build_scripts.vllm.build import build_for_vllm
from build_scripts.vllm.precision import PRECISIONS as VLLM_PRECISIONS
from llm_ensemble.engines.gpu_inventory import find_gpus
from llm_ensemble.engines.tensorrt_llm.installed import installed

TARGETS = {
    "tensorrt_llm": Target(GPU_PRECISIONS, build_for_gpus, OPTIONS),
    "openvino": Target(CPU_PRECISIONS, build_for_cpus),
    "vllm": Target(VLLM_PRECISIONS, build_for_vllm, VLLM_OPTIONS),
}


def default_engine() -> str:
    """Return the first engine kind for GPUs that is installed where a GPU is present, else openvino."""
    found = next((name for name in ("tensorrt_llm", "vllm") if installed(name)), None)
    return found if found and find_gpus() else "openvino"
