# SPDX-License-Identifier: Apache-2.0
"""What a server with OpenVINO needs beyond its engine directory: a draft that fits, if one is asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from llm_ensemble.engines.draft import check_draft
from llm_ensemble.engines.openvino.settings import OpenVinoSettings
from llm_ensemble.errors import EngineDirectoryError
from llm_ensemble.manifest import ENGINE, Manifest
from llm_ensemble.settings import EngineSettings

WEIGHTS = "openvino_model.bin"
FILES = ("openvino_model.xml", WEIGHTS, "config.json")


def check(
    engine_dir: Path, manifest: Manifest, settings: EngineSettings, versions: Mapping[str, str]
) -> None:
    """Check the draft and the memory. Raise EngineDirectoryError or SettingError for the first problem."""
    assert isinstance(settings, OpenVinoSettings)
    check_draft(engine_dir, manifest, settings, FILES)
    if draft_dir := settings.draft_engine_dir:
        check_memory(engine_dir, draft_dir, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def check_memory(engine_dir: Path, draft_dir: Path, memory: int) -> None:
    """Refuse weights that leave no room for the KV cache, which takes half of the memory at most (bytes)."""
    weights = sum((folder / ENGINE / WEIGHTS).stat().st_size for folder in (engine_dir, draft_dir))
    if weights > memory // 2:
        raise EngineDirectoryError(
            f"DRAFT_ENGINE_DIR={draft_dir} and the model have weights of {weights / 1e9:.1f} GB, half of the "
            f"memory is {memory / 2e9:.1f} GB: take a smaller draft, or PROMPT_LOOKUP=1"
        )
