# SPDX-License-Identifier: Apache-2.0
"""The engine kind of the pace engine, which llm_ensemble knows by a manifest's `engine` alone."""

from __future__ import annotations

from benchmarks.pace.settings import PaceSettings
from llm_ensemble.engines.kind import EngineKind
from llm_ensemble.engines.protocol import Engine
from llm_ensemble.manifest import Manifest
from llm_ensemble.settings import Settings

NAME = "benchmarks.pace"


def load(manifest: Manifest, settings: Settings, instance: int) -> Engine:
    """Load the engine."""
    from benchmarks.pace.engine import PaceEngine

    assert isinstance(settings.engine, PaceSettings)
    return PaceEngine(manifest, settings.max_waiting, settings.engine)


KIND = EngineKind(NAME, "benchmarks", "run it in a clone", lambda *_: (), load, PaceSettings)
