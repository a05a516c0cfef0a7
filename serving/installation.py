# SPDX-License-Identifier: Apache-2.0
"""The tritonserver that is installed, with a Python backend that fits the running Python."""

from __future__ import annotations

import importlib.util
import re
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from serving.errors import TritonError

STUB = "triton_python_backend_stub"
WHEEL_VERSION = (2, 51)  # of the nvidia-pytriton that the Makefile and requirements/image.txt pin


@dataclass(frozen=True)
class Installation:
    """A tritonserver, its Python backend, and the stub that fits the running Python.

    version: (2, 51) for 24.10, (2, 71) for 26.07; None if it is not known.
    """

    binary: Path
    backend: Path
    stub: Path
    libraries: tuple[Path, ...]
    version: tuple[int, int] | None

    def is_before(self, major: int, minor: int) -> bool:
        """Return whether it is older than that version, or of an unknown version."""
        return self.version is None or self.version < (major, minor)


def find_installation() -> Installation:
    """Return the one in /opt/tritonserver, as in NVIDIA's image, else the wheel's. Raises TritonError."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    image = Path("/opt/tritonserver")
    if (image / "bin/tritonserver").exists():
        backend = image / "backends/python"
        binary = image / "bin/tritonserver"
        return _checked(Installation(binary, backend, backend / STUB, (), _version(image)), python)
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise TritonError("tritonserver is neither in /opt/tritonserver nor installed: run make setup")
    package = Path(spec.submodule_search_locations[0])
    wheel = package / "tritonserver"
    return _checked(
        Installation(
            binary=wheel / "bin/tritonserver",
            backend=wheel / "backends/python",
            stub=wheel / "python_backend_stubs" / python / STUB,
            libraries=(package.parent / "nvidia_pytriton.libs", _libpython_folder()),
            version=WHEEL_VERSION,
        ),
        python,
    )


def _version(image: Path) -> tuple[int, int] | None:
    """Read the version from the file that Triton's build.py puts beside bin/, like 2.71.0."""
    file = image / "TRITON_VERSION"
    found = re.match(r"(\d+)\.(\d+)", file.read_text()) if file.exists() else None
    return (int(found[1]), int(found[2])) if found else None


def _checked(found: Installation, python: str) -> Installation:
    """Return the installation if its stub was linked against this minor version of Python."""
    if not found.stub.exists():
        raise TritonError(f"tritonserver has no stub for Python {python}: use Python 3.10 to 3.13")
    linked = re.search(rb"libpython(3\.\d+)\.so", found.stub.read_bytes())
    if linked and linked[1].decode() != python:
        raise TritonError(
            f"{found.stub} is for Python {linked[1].decode()}, this is {python}: use that Python"
        )
    return found


def _libpython_folder() -> Path:
    """Return the folder of this interpreter's shared libpython, which the wheel's stub needs to start."""
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
