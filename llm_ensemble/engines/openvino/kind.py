# SPDX-License-Identifier: Apache-2.0
"""The engine kind openvino."""

from __future__ import annotations

from llm_ensemble.engines.kind import EngineKind
from llm_ensemble.engines.protocol import Engine
from llm_ensemble.manifest import Manifest
from llm_ensemble.settings import Settings


def files(backend: str | None, tensor_parallel: int) -> tuple[str, ...]:
    """Return the files of engine/."""
    return ("openvino_model.xml", "openvino_model.bin", "config.json")


def load(manifest: Manifest, settings: Settings, instance: int) -> Engine:
    """Load the engine; OpenVINO GenAI is imported here."""
    from llm_ensemble.engines.openvino.engine import OpenVinoEngine

    return OpenVinoEngine(settings.engine_dir, manifest, settings.max_waiting)


KIND = EngineKind("openvino", "openvino_genai", "run make setup", files, load)
