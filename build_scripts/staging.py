# SPDX-License-Identifier: Apache-2.0
"""The folder in which a build works, and the atomic replacement of OUTPUT by it.

A build writes into a hidden sibling of OUTPUT and is renamed at the end; renaming within one folder is
atomic. The sibling is locked while its build runs; without a lock it is left from a killed build. Process
ids would not do: they repeat in containers.
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

from build_scripts.errors import BuildError
from llm_ensemble.manifest import MANIFEST

FULL_BYTES = 2**16  # a disk with less free space is full


class Staging:
    """A context manager with a folder to build in; `publish()` moves it to OUTPUT, exit removes it otherwise.

    Entering raises BuildError if OUTPUT is not empty and no engine directory, or another build writes it.
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
        """Raise BuildError for any exception that a full disk caused in a library."""
        is_full = shutil.disk_usage(self.output.parent).free < FULL_BYTES
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)
        if is_full and isinstance(error, Exception) and not isinstance(error, BuildError):
            raise BuildError(f"no room for {self.output}: make some, or choose another OUTPUT") from error

    def publish(self) -> None:
        """Move the folder to OUTPUT, then remove the engine directory that was there."""
        with _signals_held():
            if self.output.exists():
                self.output.rename(self.replaced)
            self.folder.rename(self.output)
        shutil.rmtree(self.replaced, ignore_errors=True)

    def _claim(self) -> None:
        """Create, lock and empty the folder."""
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
        """Clean up after a build that was killed in publish()."""
        if self.output.exists():
            shutil.rmtree(self.replaced)
        else:
            self.replaced.rename(self.output)


def check_replaceable(output: Path) -> None:
    """Raise BuildError unless OUTPUT is absent, an empty folder or an engine directory."""
    if not output.exists():
        return
    if not output.is_dir():
        raise BuildError(f"{output} is a file: choose another OUTPUT")
    if any(output.iterdir()) and not _is_engine_directory(output):
        raise BuildError(f"{output} is not empty and no engine directory: choose another OUTPUT or empty it")


def _is_engine_directory(folder: Path) -> bool:
    """Return whether manifest.json has the tokenizer's hash; other programs use that file name too."""
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
