# SPDX-License-Identifier: Apache-2.0
"""The Python whose environment the engine stage runs in: this one, or one that has the engine's library.

vLLM needs numpy 2, and the Python backend of tritonserver 2.51 needs numpy 1 for texts: so there the engine
stage has an environment of its own. In NVIDIA's images one Python has everything.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import inspect
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_ensemble.engines.kind import EngineKind
from serving.errors import TritonError
from serving.settings import ServerSettings

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 60  # a cold disk may take some


def look(library: str, *distributions: str) -> tuple[list[int], bool, dict[str, str]]:
    """Return this Python's version, whether it has the library, and the distributions' versions."""
    versions = {}
    for name in distributions:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return [*sys.version_info[:2]], importlib.util.find_spec(library) is not None, versions


# The same in another Python. Nothing is imported that is looked for.
PROBE = f"""
import contextlib, importlib.metadata, importlib.util, json, sys
{inspect.getsource(look)}
print(json.dumps(look(*sys.argv[1:])))
"""


@dataclass(frozen=True)
class EnginePython:
    """An interpreter, and the versions of the kind's distributions that its environment has."""

    path: Path
    versions: dict[str, str]

    @property
    def is_own(self) -> bool:
        """Whether it is the one that runs this."""
        return self.path == Path(sys.executable)


def find_engine_python(kind: EngineKind, settings: ServerSettings) -> EnginePython:
    """Return the Python of ENGINE_PYTHON, else this one if it has the library, else that beside the clone.

    Raise TritonError if it lacks the library, or is of another version, for which there is another stub.
    """
    path = Path(settings.engine_python) if settings.engine_python else _default(kind)
    version, has_library, versions = _look_in(path, kind.library, kind.distributions)
    if not has_library:
        raise TritonError(f"{kind.library} is not installed for {path}: {kind.advice}")
    if tuple(version) != sys.version_info[:2]:
        theirs, ours = (".".join(map(str, one)) for one in (version, sys.version_info[:2]))
        raise TritonError(
            f"{path} is Python {theirs}, and serve runs on {ours}: make both environments with one version"
        )
    return EnginePython(path, versions)


def _default(kind: EngineKind) -> Path:
    beside = ROOT / f".venv-{kind.name}/bin/python"
    if importlib.util.find_spec(kind.library) is None and beside.exists():
        return beside
    return Path(sys.executable)


def _look_in(path: Path, library: str, distributions: tuple[str, ...]) -> Any:
    """Return what `look` finds in that Python."""
    if path == Path(sys.executable):
        return look(library, *distributions)
    command = [str(path), "-c", PROBE, library, *distributions]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
        return json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise TritonError(f"ENGINE_PYTHON: {path} cannot be run as a Python ({error})") from error
