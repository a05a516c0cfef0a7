# SPDX-License-Identifier: Apache-2.0
"""Several instances of the engine, each with its own GPUs: the model repository with another count in it.

And the threads that all of them need.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from llm_ensemble.manifest import read_manifest
from llm_ensemble.settings import read_settings
from llm_ensemble.unary import most_calls

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


def thread_pool(engine_dir: Path, instances: int) -> str:
    """The option for as many threads a model as there may be plain requests: each holds one while it waits.

    With Triton's own 32 no more than 32 of them ran at a time (seen).
    """
    limits = read_manifest(engine_dir).limits
    most = most_calls(limits.max_batch_size, read_settings().max_waiting, instances)
    return f"--backend-config=python,thread-pool-size={max(32, most)}"
