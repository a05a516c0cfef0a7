# SPDX-License-Identifier: Apache-2.0
"""What an operator may set, all of it through the environment; everything else comes from the manifest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llm_ensemble.errors import SettingError


@dataclass(frozen=True)
class Settings:
    """ENGINE_DIR: the engine directory (default /engine, where the image mounts it).

    MAX_WAITING: requests that may wait for a place in the running batch before the next is refused.
    """

    engine_dir: Path = Path("/engine")
    max_waiting: int = 256


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; a malformed value raises SettingError naming the variable."""
    waiting = environ.get("MAX_WAITING", str(Settings.max_waiting))
    if not waiting.isdecimal():
        raise SettingError(f"MAX_WAITING must be a whole number of requests, not {waiting!r}")
    return Settings(Path(environ.get("ENGINE_DIR", Settings.engine_dir)), int(waiting))
