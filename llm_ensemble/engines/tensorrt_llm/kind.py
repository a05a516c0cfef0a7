# SPDX-License-Identifier: Apache-2.0
"""The engine kind tensorrt_llm."""

from __future__ import annotations

from llm_ensemble.engines.kind import EngineKind
from llm_ensemble.engines.protocol import Engine
from llm_ensemble.engines.tensorrt_llm.features import LACKS
from llm_ensemble.engines.tensorrt_llm.installed import IMAGE
from llm_ensemble.engines.tensorrt_llm.lora import check_adapters
from llm_ensemble.engines.tensorrt_llm.preflight import check
from llm_ensemble.engines.tensorrt_llm.settings import TensorRtLlmSettings
from llm_ensemble.lora.adapters import read_adapters
from llm_ensemble.manifest import Manifest
from llm_ensemble.settings import Settings


def files(backend: str | None, tensor_parallel: int) -> tuple[str, ...]:
    """Return the files of engine/: a checkpoint for the PyTorch backend, else an engine a GPU."""
    if backend == "pytorch":
        return ("config.json", "*.safetensors")
    return ("config.json", *(f"rank{rank}.engine" for rank in range(tensor_parallel)))


def load(manifest: Manifest, settings: Settings, instance: int) -> Engine:
    """Load the engine on the GPUs of its instance; TensorRT-LLM is imported here."""
    from llm_ensemble.engines.tensorrt_llm.engine import TensorRtLlmEngine
    from llm_ensemble.engines.tensorrt_llm.gpus import claim_gpus

    assert isinstance(settings.engine, TensorRtLlmSettings)
    claim_gpus(settings.engine, instance)
    adapters = read_adapters(settings.lora_dir, settings.max_loras)
    return TensorRtLlmEngine(settings.engine_dir, manifest, settings.max_waiting, settings.engine, adapters)


KIND = EngineKind(
    "tensorrt_llm",
    "tensorrt_llm",
    f"serve it in {IMAGE}",
    files,
    load,
    TensorRtLlmSettings,
    check,
    lacks=LACKS,
    check_adapters=check_adapters,
)
