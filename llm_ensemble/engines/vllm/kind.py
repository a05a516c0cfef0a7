# SPDX-License-Identifier: Apache-2.0
"""The engine kind vllm."""

from __future__ import annotations

from llm_ensemble.engines.kind import EngineKind
from llm_ensemble.engines.protocol import Engine
from llm_ensemble.engines.vllm.features import LACKS
from llm_ensemble.engines.vllm.lora import check_adapters
from llm_ensemble.engines.vllm.preflight import DISTRIBUTIONS, check
from llm_ensemble.engines.vllm.settings import VllmSettings
from llm_ensemble.lora.adapters import read_adapters
from llm_ensemble.manifest import Manifest
from llm_ensemble.settings import Settings


def files(backend: str | None, tensor_parallel: int) -> tuple[str, ...]:
    """Return the files of engine/: a checkpoint."""
    return ("config.json",)


def load(manifest: Manifest, settings: Settings, instance: int) -> Engine:
    """Load the checkpoint on the GPUs of its instance; vLLM is imported here."""
    from llm_ensemble.engines.vllm.engine import VllmEngine
    from llm_ensemble.engines.vllm.environment import prepare_process

    assert isinstance(settings.engine, VllmSettings)
    prepare_process(settings.engine, instance)
    adapters = read_adapters(settings.lora_dir, settings.max_loras)
    return VllmEngine(settings.engine_dir, manifest, settings.max_waiting, settings.engine, adapters)


KIND = EngineKind(
    "vllm",
    "vllm",
    "run make gpu, or serve it in the image of the Dockerfile's target vllm",
    files,
    load,
    VllmSettings,
    check,
    DISTRIBUTIONS,
    lacks={"": LACKS},
    check_adapters=check_adapters,
)
