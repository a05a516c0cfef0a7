# SPDX-License-Identifier: Apache-2.0
"""Several instances of the engine, each with its own GPUs: the model repository with another count in it."""

from __future__ import annotations

import shutil
from pathlib import Path

ENGINE_STEP = "tensorrt_llm"
ONE, SEVERAL = "count: 1 }", "count: {} }}"


def lay_repository(repository: Path, copy: Path, instances: int) -> Path:
    """`repository` itself for one instance; for several a copy of it whose engine step has so many.

    The other steps stay one instance each: they are shared by all engines.
    """
    if instances == 1:
        return repository
    shutil.copytree(repository, copy, ignore=shutil.ignore_patterns("__pycache__"))
    config = copy / ENGINE_STEP / "config.pbtxt"
    config.write_text(config.read_text().replace(ONE, SEVERAL.format(instances)))
    return copy
