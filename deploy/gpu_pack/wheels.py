# SPDX-License-Identifier: Apache-2.0
"""Wheels for another machine's Python: downloaded here, unpacked without what is not used there."""

from __future__ import annotations

import fnmatch
import subprocess
import sys
import zipfile
from pathlib import Path

GLIBC = (
    39  # the newest glibc 2.N of the machine: pip takes a platform to the letter, so all up to it are named
)
OLDEST = 5

# Whole parts that serving a text model with vLLM on CUDA never loads; each is imported behind a guard.
NOT_WANTED = (
    "*/__pycache__/*",
    "vllm/vllm_flash_attn/_vllm_fa2_C*",  # flash attention 2; a Hopper GPU takes 3
    "vllm/_moe_C*",
    "vllm/_flashmla*",
    "vllm/third_party/deep_gemm/*",
    "vllm/entrypoints/serve/instrumentator/static/swagger*",
    "vllm/kernels/helion/configs/*",
    "mistral_common/data/*",
    "pycountry/locales/*",
    "xgrammar/*.a",
    "xgrammar/lib/*.a",
    "pytriton/tritonserver/python_backend_stubs/3.[!.]/*",
    "pytriton/tritonserver/python_backend_stubs/3.1[!2]/*",
    "nvidia_pytriton.libs/libpython3*",
)


def download(requirements: Path, folder: Path, python: str) -> None:
    """Download the wheels that a requirements file names, and no others. python: such as "3.12"."""
    newest_first = [f"manylinux_2_{minor}_x86_64" for minor in range(GLIBC, OLDEST - 1, -1)]
    platforms = [*newest_first, *(f"manylinux{year}_x86_64" for year in (2014, 2010, 1))]
    command = [
        *(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"),
        *(f"--python-version={python}", "--implementation=cp"),
        *(f"--abi={abi}" for abi in (f"cp{python.replace('.', '')}", "abi3", "none")),
        *(f"--platform={platform}" for platform in platforms),
        *("-d", str(folder), "-r", str(requirements)),
    ]
    subprocess.run(command, check=True)


def unpack(wheel: Path, folder: Path, architecture_libraries: list[Path]) -> None:
    """Unpack a wheel as pip would, without NOT_WANTED; note the libraries that may hold GPU code."""
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            name = _installed_name(entry.filename)
            if entry.is_dir() or not name or any(fnmatch.fnmatch(name, one) for one in NOT_WANTED):
                continue
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(entry))
            path.chmod(0o755 if entry.external_attr >> 16 & 0o111 else 0o644)
            if path.suffix == ".so" and path.parts[len(folder.parts)] == "vllm":
                architecture_libraries.append(path)


def _installed_name(name: str) -> str:
    """Return where in site-packages a wheel's file goes; "" for scripts and headers."""
    top, _, rest = name.partition("/")
    if not top.endswith(".data"):
        return name
    scheme, _, inside = rest.partition("/")
    return inside if scheme in ("purelib", "platlib") else ""
