# SPDX-License-Identifier: Apache-2.0
"""The engine kind openvino."""

from __future__ import annotations

from pathlib import Path

from llm_ensemble.engines.kind import EngineKind
from llm_ensemble.engines.openvino.features import LACKS
from llm_ensemble.engines.openvino.linear_layers import linear_layers
from llm_ensemble.engines.openvino.preflight import FILES, check
from llm_ensemble.engines.openvino.settings import OpenVinoSettings
from llm_ensemble.engines.protocol import Engine
from llm_ensemble.lora.adapters import Adapters, read_adapters
from llm_ensemble.manifest import ENGINE, Manifest
from llm_ensemble.settings import Settings


def files(backend: str | None, tensor_parallel: int) -> tuple[str, ...]:
    """Return the files of engine/."""
    return FILES


def load(manifest: Manifest, settings: Settings, instance: int) -> Engine:
    """Load the engine; OpenVINO GenAI is imported here."""
    from llm_ensemble.engines.openvino.engine import OpenVinoEngine

    assert isinstance(settings.engine, OpenVinoSettings)
    adapters = read_adapters(settings.lora_dir, settings.max_loras)
    return OpenVinoEngine(settings.engine_dir, manifest, settings.max_waiting, settings.engine, adapters)


def check_adapters(engine_dir: Path, manifest: Manifest, adapters: Adapters) -> None:
    """Raise SettingError for an adapter that does not fit the model."""
    adapters.check_fit(linear_layers(engine_dir / ENGINE))


KIND = EngineKind(
    "openvino",
    "openvino_genai",
    "run make setup",
    files,
    load,
    OpenVinoSettings,
    check,
    lacks={"": LACKS},
    check_adapters=check_adapters,
)
