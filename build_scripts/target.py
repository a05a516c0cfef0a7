# SPDX-License-Identifier: Apache-2.0
"""The type of an entry of TARGETS: how to build for one engine kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from build_scripts.options import BuildOptions
from build_scripts.progress import Progress


@dataclass(frozen=True)
class Target:
    """Builds for one engine kind.

    precisions: the allowed ones, as the manifest names them. options: names of BuildOptions that
    mean something for this target, but not for every one. build(folder, options, progress): build into the
    empty folder, or raise BuildError.
    """

    precisions: tuple[str, ...]
    build: Callable[[Path, BuildOptions, Progress], None]
    options: tuple[str, ...] = ()
