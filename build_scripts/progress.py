# SPDX-License-Identifier: Apache-2.0
"""Progress of a build: one line per stage on stdout, and the output of libraries in a log.

The exporting libraries (torch, transformers, OpenVINO's C++ parts) write dozens of warnings to both streams,
so a stage runs with file descriptors 1 and 2 pointing at the log. The output of external
commands is shown and logged: they run long and report their own progress.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path


class Interrupted(BaseException):
    """The build was asked to stop, by signal `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Progress:
    """The stages of one build, counted and shown; `total` is their number."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.number = 0
        self.notes: list[str] = []
        self.interrupted: Interrupted | None = None
        handle, name = tempfile.mkstemp(prefix="build-", suffix=".log")
        os.close(handle)
        self.log = Path(name)

    @contextlib.contextmanager
    def stage(self, name: str, subject: str, *, quiet: bool = True, live: bool = False) -> Iterator[None]:
        """Show `[3/5] export … done in 3.2 s`; what libraries write goes to the log if `quiet`.

        live: print begin and end as separate lines, for output between them.
        """
        self.number += 1
        self.notes = []
        head = f"[{self.number}/{self.total}] {name:<9}"
        self._write(f"{head} {subject} … " + "\n" * live)
        start = time.monotonic()
        outcome = "failed after"
        try:
            with self._quieted() if quiet and not live else contextlib.nullcontext():
                yield
            if self.interrupted is not None:
                raise self.interrupted
            outcome = "done in"
        except Interrupted:
            outcome = "stopped after"
            raise
        finally:
            notes = "".join(f"  ({note})" for note in self.notes)
            self._write(f"{head * live} {outcome} {time.monotonic() - start:.1f} s{notes}\n")

    def show(self, output: bytes) -> None:
        """Show the output of a command and append it to the log."""
        sys.stdout.flush()
        os.write(1, output)
        with self.log.open("ab") as log:
            log.write(output)

    def note(self, text: str) -> None:
        """Add a figure to the line of the current stage."""
        self.notes.append(text)

    def interrupt(self, number: int, _: object) -> None:
        """Handle a signal. C++ code may swallow the exception, so it is stored too.

        A second signal is ignored, since the first one is being handled.
        """
        if self.interrupted is None:
            self.interrupted = Interrupted(number)
            raise self.interrupted

    def keep_traceback(self) -> None:
        """Append the exception being handled to the log."""
        with self.log.open("a", encoding="utf-8") as log:
            log.write(traceback.format_exc())

    def tail(self, lines: int = 12) -> str:
        """Return the last lines of the log, each ending with a newline; empty if nothing was written."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return "".join(f"  | {line}\n" for line in text.splitlines()[-lines:])

    def drop_log(self) -> None:
        """Remove the log."""
        self.log.unlink(missing_ok=True)

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    @contextlib.contextmanager
    def _quieted(self) -> Iterator[None]:
        """Point descriptors 1 and 2 at the log; C++ code does not use sys.stdout."""
        sys.stdout.flush()
        sys.stderr.flush()
        kept = os.dup(1), os.dup(2)
        log = os.open(self.log, os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, descriptor)
                os.close(copy)
