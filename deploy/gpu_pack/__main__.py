# SPDX-License-Identifier: Apache-2.0
"""Make what a GPU machine without a network needs to serve, test and measure with vLLM.

    make gpu-pack        parts of at most 46 MiB and a manifest, in build/gpu

The machine has Python 3.12 with torch for CUDA, transformers and their needs. requirements/gpu-engine.txt
is what vLLM needs beside them; requirements/gpu-serving.txt an environment of its own, for Triton and the
tests. The repository itself is not in the parts. unpack.py puts both up there.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import time
from pathlib import Path

from deploy.gpu_pack.fatbin import blank_other_architectures
from deploy.gpu_pack.parts import compress, split, write_manifest
from deploy.gpu_pack.wheels import download, unpack

ROOT = Path(__file__).resolve().parent.parent.parent
ENVIRONMENTS = ("engine", "serving")  # requirements/gpu-*.txt
MIB = 2**20
SMALLEST_LIBRARY = 1 * MIB  # below it there is too little GPU code to look for


def main() -> None:
    """Download, unpack, blank, compress, split."""
    parser = argparse.ArgumentParser(description="Make a pack for a GPU machine without a network.")
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "build/gpu")
    parser.add_argument("--python", default="3.12", help="the machine's (default: %(default)s)")
    parser.add_argument("--architecture", type=int, default=90, help="of its GPU: 90 for 9.0 (Hopper)")
    parser.add_argument("--part-mib", type=int, default=46, help="most that a part may have")
    asked = parser.parse_args()
    scratch = asked.folder.with_name(f"{asked.folder.name}-work")
    parts_folder = scratch / "parts"
    for old in (parts_folder, scratch / "tree"):
        shutil.rmtree(old, ignore_errors=True)
    parts_folder.mkdir(parents=True)
    began = time.monotonic()
    for name in ENVIRONMENTS:
        lay(name, scratch, asked.python, asked.architecture)
    say(f"{began_text(began)} compressing {size(scratch / 'tree') / MIB:.0f} MiB: minutes")
    archive = scratch / "pack.tar.xz"
    compress(scratch / "tree", archive)
    parts = split(archive, parts_folder, asked.part_mib * MIB)
    write_manifest(parts_folder, parts, python=asked.python, architecture=asked.architecture)
    shutil.rmtree(asked.folder, ignore_errors=True)
    parts_folder.rename(asked.folder)
    say(f"{began_text(began)} {len(parts)} parts, {archive.stat().st_size / MIB:.1f} MiB, in {asked.folder}")


def lay(name: str, scratch: Path, python: str, architecture: int) -> None:
    """Lay the site-packages of an environment under scratch/tree."""
    requirements, wheels = ROOT / f"requirements/gpu-{name}.txt", scratch / "wheels" / name
    wheels.mkdir(parents=True, exist_ok=True)
    download(requirements, wheels, python)
    libraries: list[Path] = []
    for wheel in pinned_wheels(requirements, wheels):
        unpack(wheel, scratch / "tree" / name, libraries)
    for path in libraries:
        if path.stat().st_size >= SMALLEST_LIBRARY:
            zeroed, whole = blank_other_architectures(path, architecture)
            say(f"{path.name}: {zeroed / MIB:.0f} of {whole / MIB:.0f} MiB are for other GPUs")


def pinned_wheels(requirements: Path, folder: Path) -> list[Path]:
    """Return the wheel of each line: the folder may hold those of an earlier pack, too."""
    found = []
    for line in requirements.read_text().splitlines():
        name, _, version = line.partition("#")[0].strip().partition("==")
        if name:
            spelled = re.sub(r"[-_.]+", "[-_.]", re.escape(name).replace("\\", ""))
            pattern = re.compile(
                rf"{spelled}-{re.escape(version)}(-[0-9]+)?-[^-]+-[^-]+-[^-]+\.whl", re.IGNORECASE
            )
            found += [path for path in folder.iterdir() if pattern.fullmatch(path.name)]
    return found


def size(folder: Path) -> int:
    """Return the bytes of a folder's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def began_text(began: float) -> str:
    """Return the seconds since then."""
    return f"{time.monotonic() - began:.0f} s:"


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
