# SPDX-License-Identifier: Apache-2.0
"""The engine kinds there are: how a manifest's engine is found, set and loaded."""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Mapping
from pathlib import Path

import llm_ensemble
from llm_ensemble.engines.kind import EngineKind
from llm_ensemble.engines.protocol import Engine
from llm_ensemble.errors import EngineDirectoryError, SettingError
from llm_ensemble.lora.adapters import Adapters, read_adapters
from llm_ensemble.manifest import Manifest, read_manifest
from llm_ensemble.settings import EngineSettings, Settings, declared, read, read_settings

# A kind is a folder beside this file; its kind.py has the KIND.
KINDS = ("openvino", "tensorrt_llm", "vllm")


def engine_kind(engine: str) -> EngineKind:
    """Return the kind that a manifest names.

    A name with a dot is a package outside of this one, whose kind.py has the KIND. Raise EngineDirectoryError
    if there is none.
    """
    if engine not in KINDS and "." not in engine:
        raise EngineDirectoryError(
            f"the engine directory is for engine {engine!r}; this version serves {' and '.join(KINDS)}"
        )
    package = engine if "." in engine else f"{__package__}.{engine}"
    try:
        kind = importlib.import_module(f"{package}.kind").KIND
    except ModuleNotFoundError as error:
        raise EngineDirectoryError(f"engine {engine!r} is not installed here: {error}") from error
    assert isinstance(kind, EngineKind)
    return kind


def package_folders(engine: str) -> list[Path]:
    """Return the folders of the packages that a stage imports: ours, and that of a kind from outside."""
    top = importlib.import_module(engine.partition(".")[0]) if "." in engine else llm_ensemble
    return [*dict.fromkeys(Path(str(package.__file__)).parent for package in (llm_ensemble, top))]


def read_engine_settings(engine: str, environ: Mapping[str, str] = os.environ) -> EngineSettings:
    """Return the settings of an engine kind.

    Raise SettingError for a malformed variable, and for one of another kind, which would do nothing.
    """
    kind = engine_kind(engine)
    for other in KINDS:
        names = {field.name.upper() for field in declared(engine_kind(other).settings)}
        names -= {field.name.upper() for field in declared(kind.settings)}
        if given := sorted(name for name in names if environ.get(name)):
            raise SettingError(f"{given[0]} is for the {other} engine alone: unset it")
    return read(kind.settings, environ)


def read_served(
    engine_dir: Path | None = None, environ: Mapping[str, str] = os.environ
) -> tuple[Settings, Manifest]:
    """Return all settings, and the manifest of the engine directory, by default that of the settings.

    Raise SettingError and EngineDirectoryError.
    """
    settings = read_settings(environ)
    engine_dir = engine_dir or settings.engine_dir
    manifest = read_manifest(engine_dir)
    engine = read_engine_settings(manifest.engine, environ)
    return dataclasses.replace(settings, engine_dir=engine_dir, engine=engine), manifest


def check_adapters(manifest: Manifest, settings: Settings) -> Adapters:
    """Return the adapters of the settings. Raise SettingError for one that the engine cannot serve."""
    adapters = read_adapters(settings.lora_dir, settings.max_loras)
    kind = engine_kind(manifest.engine)
    if adapters and kind.check_adapters is None:
        raise SettingError(f"LORA_DIR: the {manifest.engine} engine has no adapters: unset it")
    if adapters and kind.check_adapters:
        kind.check_adapters(settings.engine_dir, manifest, adapters)
    return adapters


def load_engine(manifest: Manifest, settings: Settings, instance: int = 0) -> Engine:
    """Load the engine that the manifest names; its library is imported here, not before.

    instance: which of the engine stage's instances loads it; each has GPUs of its own.
    """
    check_adapters(manifest, settings)
    return engine_kind(manifest.engine).load(manifest, settings, instance)
