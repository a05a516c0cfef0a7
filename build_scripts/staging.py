# SPDX-License-Identifier: Apache-2.0
"""Where a build works, and how its result takes its place: all of it or nothing.

A build writes into a hidden sibling of OUTPUT and is renamed at the end; renaming within one folder is
atomic. The sibling is locked while its build lives, so what a killed build left behind is told from what a
running one uses, also in containers, where process ids repeat.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from build_scripts.build_error import BuildError
from llm_ensemble.manifest import MANIFEST

FULL_BYTES = 2**16  # a disk with less is full: what could not be written was larger


class Staging:
    """Enter for a folder to build in, `publish()` to move it to OUTPUT; leaving removes what is left.

    Entering raises BuildError when OUTPUT holds something that is no engine directory, or another build
    writes it.
    """

    def __init__(self, output: Path) -> None:
        self.output = output.resolve()  # a link's target is replaced, not the link
        self.folder = self.output.with_name(f".{self.output.name}.building")
        self.replaced = self.output.with_name(f".{self.output.name}.replaced")
        self._lock = -1  # the descriptor that holds the lock

    def __enter__(self) -> Staging:
        check_replaceable(self.output)
        try:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            self._claim()
            if self.replaced.exists():
                self._finish_replacement()
        except OSError as error:
            raise BuildError(
                f"cannot write {self.output}: {error.strerror}; choose another OUTPUT"
            ) from error
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raises BuildError in place of what a full disk made a library raise: that may be any words."""
        is_full = shutil.disk_usage(self.output.parent).free < FULL_BYTES
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)
        if is_full and isinstance(error, Exception) and not isinstance(error, BuildError):
            raise BuildError(f"no room for {self.output}: make some, or choose another OUTPUT") from error

    def publish(self) -> None:
        """Put the folder in OUTPUT's place; an engine directory that was there is removed after."""
        with _signals_held():
            if self.output.exists():
                self.output.rename(self.replaced)
            self.folder.rename(self.output)
        shutil.rmtree(self.replaced, ignore_errors=True)

    def _claim(self) -> None:
        """Make the folder empty and ours."""
        self.folder.mkdir(exist_ok=True)
        self._lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise BuildError(f"another build is writing {self.output}: wait for it or stop it") from None
        for left in self.folder.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()

    def _finish_replacement(self) -> None:
        """A build was killed between publish's two renames, or before its last line."""
        if self.output.exists():
            shutil.rmtree(self.replaced)
        else:
            self.replaced.rename(self.output)


def check_replaceable(output: Path) -> None:
    """Raise BuildError unless OUTPUT is free, an empty folder, or an engine directory of ours."""
    if not output.exists():
        return
    if not output.is_dir():
        raise BuildError(f"{output} is a file: choose another OUTPUT")
    if any(output.iterdir()) and not _is_engine_directory(output):
        raise BuildError(f"{output} is not empty and no engine directory: choose another OUTPUT or empty it")


def _is_engine_directory(folder: Path) -> bool:
    """Many programs call a file manifest.json; ours names its tokenizer's hash, in every schema."""
    try:
        return "tokenizer_sha256" in json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError, TypeError):
        return False


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    held = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, held)
