# SPDX-License-Identifier: Apache-2.0
"""`make serve` at a terminal, ended by Ctrl-C."""

import contextlib
import os
import pty
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from serving.tritonserver import ROOT, free_ports
from tests.odd_paths import odd
from tests.processes import descendants

SECONDS = 60


class Terminal:
    """A command in a pseudo-terminal."""

    def __init__(self, *command):
        self._descriptor, inner = pty.openpty()
        # Not pty.fork: a forked child of a process that has used gRPC may die of gRPC's handlers.
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *command], cwd=ROOT, stdin=inner, stdout=inner, stderr=inner
        )
        self.pid = self._process.pid  # setsid becomes the command
        os.close(inner)
        self.seen = b""

    def press_ctrl_c(self):
        os.write(self._descriptor, b"\x03")

    def read_until(self, words=None):
        """Read until these words were seen, or without words until the command has ended."""
        deadline = time.monotonic() + SECONDS
        with contextlib.suppress(OSError):  # the end of a terminal
            while words is None or words not in self.seen:
                assert time.monotonic() < deadline, self.seen[-2000:]
                if select.select([self._descriptor], [], [], 0.1)[0]:
                    self.seen += os.read(self._descriptor, 4096)

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGTERM)
        self._process.wait()
        os.close(self._descriptor)


@pytest.fixture
def terminal(demo_engine, tmp_path):
    """`make serve` of an engine directory whose name has characters that a shell interprets."""
    engine = shutil.copytree(demo_engine, tmp_path / odd("utf-8").replace("\n", " "))
    ports = free_ports(openai=True)
    where = [f"HTTP_PORT={ports.http}", f"GRPC_PORT={ports.grpc}", f"METRICS_PORT={ports.metrics}"]
    where.append(f"OPENAI_PORT={ports.openai}")
    with contextlib.closing(Terminal("make", "serve", f"ENGINE_DIR={engine}", *where)) as terminal:
        yield terminal


def wait_for_handlers(terminal):
    """Wait until `serve` catches SIGTERM, which Python by itself does not, before its imports."""
    deadline = time.monotonic() + SECONDS
    while True:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a process that has just ended
            processes = descendants(terminal.pid)
            serve = [one.pid for one in processes if one.command.startswith(".venv/bin/python ")]
            if serve and catches(serve[0], signal.SIGTERM):
                return
        assert time.monotonic() < deadline
        time.sleep(0.001)


def catches(pid, number):
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return int(mask, 16) >> (number - 1) & 1


MOMENTS = {
    "Python imports": wait_for_handlers,
    "tritonserver loads": lambda terminal: terminal.read_until(b"ModelInstanceInitialize: "),
    "it serves": lambda terminal: terminal.read_until(b" is ready: "),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_ctrl_c_ends_in_stopped_and_no_error_of_make(terminal, moment):
    MOMENTS[moment](terminal)
    terminal.press_ctrl_c()
    terminal.read_until()
    said = terminal.seen.decode(errors="replace")
    # tritonserver has no handler while it loads, so it may end within a line, whose begin is then in front.
    assert said.splitlines()[-1].endswith("serve: stopped")
    assert "make: ***" not in said
    assert "Traceback" not in said
