# SPDX-License-Identifier: Apache-2.0
"""The environment variables of tritonserver, and the folder of links and copies that it starts from.

glibc caches freed blocks of each size for each thread. tritonserver has many threads, and its memory grows
for hours while those caches fill. A stub has few threads and stays flat, and an engine on many cores needs
the caches: without them and with one arena it took twice the CPU. So tritonserver alone gets settings for
the allocator, and its stubs keep glibc's defaults. docs/performance.md has the figures, also of jemalloc.

tritonserver opens every GPU that it sees, though no stage needs that of it, and takes hundreds of MiB on
each: CUDA's context, made for its memory pools, for peer access and for the ensemble's stream, and a pool
of 64 MiB (read in its source: no option prevents the stream). So it sees none, and its stubs see them all.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from serving.installation import Installation
from serving.plain_paths import plain_path

# If an operator has set one of these, nothing is added.
ALLOCATOR_VARIABLES = ("GLIBC_TUNABLES", "MALLOC_ARENA_MAX")
TRITONSERVER_ONLY = "TRITONSERVER_ONLY"  # names the variables that stub.sh removes for the stubs
GPUS = "CUDA_VISIBLE_DEVICES"
STUBS_GPUS = "STUBS_CUDA_VISIBLE_DEVICES"  # what stub.sh makes of GPUS for the stubs, if it is set
ENGINE_STAGE_BIN = "ENGINE_STAGE_BIN"  # what stub.sh puts on the engine stage's PATH
STUB_WRAPPER = Path(__file__).resolve().parent / "stub.sh"
STUB_FOLDER = "real"  # beside the wrapper: where stub.sh finds the stub

ENGINE_STAGE, POSTPROCESSING = "tensorrt_llm", "postprocessing"
# A process sends one response at a time and waits for Triton meanwhile, so several send more. Docker's
# default of 64 MB for /dev/shm has room for four.
MAX_SENDERS, CORES_A_SENDER = 4, 4
ONE_INSTANCE, SEVERAL_INSTANCES = "count: 1 }", "count: {} }}"  # in its config.pbtxt


def allocator_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to add to tritonserver's environment; empty where `environ` sets one of them.

    One arena for each core: more would hold more memory, fewer would make threads wait for each other.
    """
    if any(environ.get(name) for name in ALLOCATOR_VARIABLES):
        return {}
    arenas = len(os.sched_getaffinity(0))
    return {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0", "MALLOC_ARENA_MAX": str(arenas)}


def tritonserver_only(environ: Mapping[str, str], *, gpu_metrics: bool = False) -> dict[str, str]:
    """Return the variables for tritonserver alone, and those by which stub.sh undoes them for the stubs.

    gpu_metrics: whether tritonserver sees the GPUs.
    """
    settings = allocator_settings(environ) | ({} if gpu_metrics else {GPUS: ""})
    given = {STUBS_GPUS: environ[GPUS]} if GPUS in environ and GPUS in settings else {}
    return settings | given | {TRITONSERVER_ONLY: " ".join(settings)}


def environment(
    installation: Installation,
    engine_dir: Path,
    engine_python: Path,
    folder: Path,
    *,
    gpu_metrics: bool = False,
) -> dict[str, str]:
    """Return this process's environment with what the stubs need: interpreters, packages, libraries, engine.

    A stub takes the Python that comes first on PATH. engine_python: that of the engine stage, for stub.sh.
    folder: where links are made for paths that are not plain. gpu_metrics: whether tritonserver sees the
    GPUs.
    """
    environ = dict(os.environ) | tritonserver_only(os.environ, gpu_metrics=gpu_metrics)
    libraries = [str(plain_path(path, folder / f"lib{i}")) for i, path in enumerate(installation.libraries)]
    environ["LD_LIBRARY_PATH"] = ":".join(filter(None, [*libraries, environ.get("LD_LIBRARY_PATH", "")]))
    binaries = Path(sys.executable).parent
    prefix = plain_path(binaries.parent, folder / "prefix")
    environ["PATH"] = f"{prefix / binaries.name}:{environ.get('PATH', '')}"
    if engine_python != Path(sys.executable):
        binaries = engine_python.absolute().parent
        prefix = plain_path(binaries.parent, folder / "engine-prefix")
        environ[ENGINE_STAGE_BIN] = str(prefix / binaries.name)
    environ["ENGINE_DIR"] = str(plain_path(engine_dir.resolve(), folder / "engine"))
    for name, link in (("LORA_DIR", "adapters"), ("DRAFT_ENGINE_DIR", "draft")):
        if path := environ.get(name):
            environ[name] = str(plain_path(Path(path).resolve(), folder / link))
    return environ


def lay_backend(installation: Installation, folder: Path, packages: Sequence[Path]) -> Path:
    """Make `folder` a backend directory: Python backend, fitting stub, the stages' packages; return it."""
    python = folder / "python"
    python.mkdir()
    lay_stub(installation.stub, python)
    for path in installation.backend.iterdir():
        if path.name != installation.stub.name:
            (python / path.name).symlink_to(path)
    # The stub's Python takes file names for ASCII in any locale: it cannot import from a path with other
    # letters.
    for package in packages:
        (python / package.name).symlink_to(package)
    return folder


def lay_stub(stub: Path, folder: Path) -> None:
    """Put stub.sh where the Python backend in `folder` looks for `stub`, and the stub where stub.sh does.

    Links only: a temporary folder may be mounted noexec.
    """
    (folder / stub.name).symlink_to(STUB_WRAPPER)
    (folder / STUB_FOLDER).mkdir()
    (folder / STUB_FOLDER / stub.name).symlink_to(stub)


def postprocessing_instances(engines: int) -> int:
    """Return how many instances of postprocessing serve so many instances of the engine stage."""
    return max(engines, min(MAX_SENDERS, len(os.sched_getaffinity(0)) // CORES_A_SENDER))


def lay_repository(repository: Path, copy: Path, counts: Mapping[str, int]) -> Path:
    """Return the model repository for so many instances of stages, by their names; of others there is one.

    `repository` itself if there is one of each; else `copy`, made of it with other counts. A repository whose
    path is not plain becomes a link at `copy`.
    """
    if all(count == 1 for count in counts.values()):
        return plain_path(repository, copy)
    shutil.copytree(repository, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for stage, count in counts.items():
        config = copy / stage / "config.pbtxt"
        config.write_text(config.read_text().replace(ONE_INSTANCE, SEVERAL_INSTANCES.format(count)))
    return copy
