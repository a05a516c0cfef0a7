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

    MAX_WAITING: sequences that may wait for a place in the running batch before the next is refused.
    DEADLINE_MS: milliseconds after which a request ends that sets no deadline_ms. Triton does not notice
    that the client of a plain HTTP request has left, so this is what bounds such a request.
    """

    engine_dir: Path = Path("/engine")
    max_waiting: int = 256
    deadline_ms: int = 600_000


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; a malformed value raises SettingError naming the variable."""
    return Settings(
        engine_dir=Path(environ.get("ENGINE_DIR", Settings.engine_dir)),
        max_waiting=_whole_number(environ, "MAX_WAITING", "sequences", least=0),
        deadline_ms=_whole_number(environ, "DEADLINE_MS", "milliseconds", least=1),
    )


def _whole_number(environ: Mapping[str, str], name: str, unit: str, least: int) -> int:
    text = environ.get(name, str(getattr(Settings, name.lower())))
    if not text.isdecimal() or int(text) < least:
        raise SettingError(f"{name} must be a whole number of {unit}, at least {least}, not {text!r}")
    return int(text)
