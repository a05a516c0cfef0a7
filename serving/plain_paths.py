# SPDX-License-Identifier: Apache-2.0
"""Paths that every program which reads them takes alike: letters, digits, and a few signs.

tritonserver 2.51.0 starts each stub with `bash -c` and quotes nothing; later ones refuse some characters. The
dynamic linker splits LD_LIBRARY_PATH at ":" and ";", and the Python inside a stub takes file names for ASCII
in any locale. So wherever a path is not plain, these programs get a link with a plain path instead.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

PLAIN = re.compile(r"[A-Za-z0-9/._-]+")
SHARED_MEMORY = Path("/dev/shm")  # the stages write to it in any case


def is_plain(path: Path) -> bool:
    """Return whether any program can be given the path as it is."""
    return PLAIN.fullmatch(str(path)) is not None


def plain_path(path: Path, link: Path) -> Path:
    """Return `path` if it is plain, else `link`, made to lead there."""
    if is_plain(path):
        return path
    link.symlink_to(path)
    return link


def printable(path: Path) -> str:
    """Return the path as any terminal can show it: bytes that are not UTF-8 as \\xff."""
    return os.fsencode(path).decode(errors="backslashreplace")


def scratch() -> Path:
    """Return where links and configurations go: the temporary folder, or /dev/shm if that is not plain.

    Raises OSError when there is no temporary folder.
    """
    folder = Path(tempfile.gettempdir())
    return folder if is_plain(folder) else SHARED_MEMORY
