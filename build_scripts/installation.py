# SPDX-License-Identifier: Apache-2.0
"""Where tritonserver is installed, with a Python backend that fits the running Python."""

from __future__ import annotations

import importlib.util
import re
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

STUB = "triton_python_backend_stub"


class TritonError(Exception):
    """tritonserver cannot be started here, or died; one line that says what to do."""


@dataclass(frozen=True)
class Installation:
    """A tritonserver, its Python backend, and the stub that fits the running Python."""

    binary: Path
    backend: Path
    stub: Path
    libraries: tuple[Path, ...]


def find_installation() -> Installation:
    """NVIDIA's image has it in /opt/tritonserver, else the wheel's; raises TritonError if neither fits."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    image = Path("/opt/tritonserver")
    if (image / "bin/tritonserver").exists():
        backend = image / "backends/python"
        return _fitting(Installation(image / "bin/tritonserver", backend, backend / STUB, ()), python)
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise TritonError("tritonserver is neither in /opt/tritonserver nor installed: run make .venv")
    package = Path(spec.submodule_search_locations[0])
    wheel = package / "tritonserver"
    return _fitting(
        Installation(
            binary=wheel / "bin/tritonserver",
            backend=wheel / "backends/python",
            stub=wheel / "python_backend_stubs" / python / STUB,
            libraries=(package.parent / "nvidia_pytriton.libs", _libpython_folder()),
        ),
        python,
    )


def _fitting(found: Installation, python: str) -> Installation:
    """The installation, if its stub was linked against this Python's minor version."""
    if not found.stub.exists():
        raise TritonError(f"tritonserver has no stub for Python {python}: use Python 3.10 to 3.13")
    linked = re.search(rb"libpython(3\.\d+)\.so", found.stub.read_bytes())
    if linked and linked[1].decode() != python:
        raise TritonError(
            f"{found.stub} is for Python {linked[1].decode()}, this is {python}: use that Python"
        )
    return found


def _libpython_folder() -> Path:
    """Where the shared libpython of this interpreter lies; the wheel's stub cannot start without it."""
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    library = Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib")
    folders = [
        library,
        library / (sysconfig.get_config_var("MULTIARCH") or ""),
        Path(sys.base_prefix) / "lib",
    ]
    for folder in folders:
        if (folder / name).exists():
            return folder
    raise TritonError(
        f"no shared {name} for {sys.executable}: install it (Debian: apt install "
        f"{name.removesuffix('.so.1.0')}) or use a Python built with --enable-shared"
    )
