# SPDX-License-Identifier: Apache-2.0
"""One compressed archive in parts that are small enough to be carried."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from pathlib import Path

MANIFEST = "manifest.json"
LEVEL = "-6"


def compress(folder: Path, archive: Path) -> None:
    """Write a folder as .tar.xz, in blocks that many cores can decompress at once."""
    with archive.open("wb") as file:
        xz = subprocess.Popen(["xz", "-T0", LEVEL, "-c"], stdin=subprocess.PIPE, stdout=file)
        assert xz.stdin is not None
        with tarfile.open(fileobj=xz.stdin, mode="w|", format=tarfile.GNU_FORMAT) as tar:
            for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                tar.add(path, path.relative_to(folder).as_posix(), recursive=False, filter=_plain)
        xz.stdin.close()
        if xz.wait():
            raise RuntimeError(f"xz ended with {xz.returncode}")


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Nobody's file of no time: the same pack is the same bytes."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 1
    return entry


def split(archive: Path, folder: Path, most: int) -> list[dict[str, object]]:
    """Split a file into parts of `most` bytes, as even as possible; return name, bytes, sha256 of each."""
    size = archive.stat().st_size
    number = -(-size // most)
    parts = []
    with archive.open("rb") as file:
        for i in range(number):
            content = file.read(-(-size // number))
            name = f"part-{i + 1}"
            (folder / name).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            parts.append({"name": name, "bytes": len(content), "sha256": digest})
    return parts


def write_manifest(folder: Path, parts: list[dict[str, object]], **facts: object) -> None:
    """Write the list by which unpack.py knows that it has everything."""
    (folder / MANIFEST).write_text(json.dumps({"parts": parts, **facts}, indent=1) + "\n")
