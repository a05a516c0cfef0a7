# SPDX-License-Identifier: Apache-2.0
"""vLLM with load_format "dummy": the arithmetic of a model whose weights cannot be had."""

from __future__ import annotations

import dataclasses

from llm_ensemble.engines.protocol import Engine
from llm_ensemble.engines.vllm.kind import KIND as VLLM
from llm_ensemble.engines.vllm.settings import VllmSettings
from llm_ensemble.manifest import Manifest
from llm_ensemble.settings import Settings

NAME = "benchmarks.gpu.dummy"


def load(manifest: Manifest, settings: Settings, instance: int) -> Engine:
    """Load it as the kind vllm loads a checkpoint."""
    from llm_ensemble.engines.vllm.engine import VllmEngine
    from llm_ensemble.engines.vllm.environment import prepare_process

    assert isinstance(settings.engine, VllmSettings)
    prepare_process(settings.engine, instance)
    return VllmEngine(
        settings.engine_dir, manifest, settings.max_waiting, settings.engine, load_format="dummy"
    )


# Without the check, which looks for weights.
KIND = dataclasses.replace(VLLM, name=NAME, load=load, check=lambda *_: None)
