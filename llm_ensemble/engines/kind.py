# SPDX-License-Identifier: Apache-2.0
"""What sets one engine kind apart from another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from llm_ensemble.engines.features import Lacks
from llm_ensemble.engines.protocol import Engine
from llm_ensemble.lora.adapters import Adapters
from llm_ensemble.manifest import ENGINE, TOKENIZER, Manifest
from llm_ensemble.settings import EngineSettings, Settings

Loader = Callable[[Manifest, Settings, int], Engine]
Check = Callable[[Path, Manifest, EngineSettings, Mapping[str, str]], None]
CheckAdapters = Callable[[Path, Manifest, Adapters], None]
Files = Callable[[str | None, int], tuple[str, ...]]


@dataclass(frozen=True)
class EngineKind:
    """An engine kind. Importing its module must not import its library.

    name: what a manifest calls it.
    library, advice: the module that it needs, and what to do where that is not installed.
    files(backend, tensor_parallel): the files of engine/; a pattern where any match will do.
    load(manifest, settings, instance): load the engine, once a process.
    settings: the type of its settings.
    check(engine_dir, manifest, settings, versions): raise EngineDirectoryError or SettingError for what would
    fail later; nothing is loaded for it. versions: of `distributions`, those that the engine stage has.
    distributions: names of packages, as pip knows them, whose versions `check` needs.
    check_adapters(engine_dir, manifest, adapters): raise SettingError for adapters that cannot be served with
    this model; without it, the engine has none.
    lacks: what the engine cannot do, by the manifest's backend, "" for none.
    """

    name: str
    library: str
    advice: str
    files: Files
    load: Loader
    settings: type[EngineSettings] = EngineSettings
    check: Check = lambda *_: None
    distributions: tuple[str, ...] = ()
    check_adapters: CheckAdapters | None = None
    lacks: Mapping[str, Lacks] = dataclasses.field(default_factory=dict)

    def missing_file(self, engine_dir: Path, backend: str | None, tensor_parallel: int) -> Path | None:
        """Return the first file that an engine directory lacks, relative to it; None if it has all."""
        wanted = [Path(ENGINE, name) for name in self.files(backend, tensor_parallel)]
        wanted.append(Path(TOKENIZER, "tokenizer.json"))
        return next((path for path in wanted if not any(engine_dir.glob(str(path)))), None)
