# SPDX-License-Identifier: Apache-2.0
"""OpenAI's API as a child process: started beside tritonserver, started again when it dies, drained, ended.

It is a client of tritonserver, and whatever becomes of it, tritonserver serves on.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from llm_ensemble.child_process import END_WITH_PARENT
from serving.listening import Ports, connect_host, netloc
from serving.plain_paths import is_plain, plain_path, scratch
from serving.server_options import DRAIN_SECONDS

ROOT = Path(__file__).resolve().parents[2]

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
SETTLED_SECONDS = 60  # one that has lived so long is started again after the first pause
START_SECONDS = 20  # for the ready line to wait for it
EXIT_SECONDS = 3  # beyond the time that its requests have
CONNECT_SECONDS = 1
CUT = 4  # its exit status when requests had not ended


class Frontend:
    """The frontend of one `serve`, if ports.openai is not 0; without a port no method does anything.

    All processes are started by the thread that calls `check`: they end with that thread.
    """

    def __init__(self, engine_dir: Path, ports: Ports, *, has_tls: bool = False) -> None:
        self._engine_dir, self._ports = engine_dir, ports
        self._scheme = "https" if has_tls else "http"
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = self._start_at = 0.0
        self._pause = FIRST_PAUSE_SECONDS
        self._folder = contextlib.ExitStack()

    @property
    def url(self) -> str:
        """Its root, for clients on this machine; "" if it is off."""
        address = netloc(connect_host(self._ports.host), self._ports.openai)
        return f"{self._scheme}://{address}" if self._ports.openai else ""

    def check(self) -> None:
        """Start it if it does not run; does not block. After a death this waits: longer after several."""
        if not self._ports.openai:
            return
        now = time.monotonic()
        if self._process is None:
            if now >= self._start_at:
                self._start(now)
            return
        status = self._process.poll()
        if status is None:
            return
        if now - self._started_at >= SETTLED_SECONDS:
            self._pause = FIRST_PAUSE_SECONDS
        sys.stderr.write(
            f"serve: the OpenAI frontend has died (its process {self._process.pid} ended with {status}): "
            f"starting it again in {self._pause:g} s\n"
        )
        self._process = None
        self._start_at = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def is_awaited(self) -> bool:
        """Return whether it has just been started and does not listen yet."""
        process = self._process
        if process is None or time.monotonic() - self._started_at > START_SECONDS:
            return False
        return process.poll() is None and not self._is_listening()

    def drain(self, deadline: float) -> bool:
        """Let it end its requests until the deadline, then end it; return whether all of them had ended."""
        if self._process is None:
            return True
        self._process.terminate()
        try:
            return self._process.wait(max(0.0, deadline - time.monotonic()) + EXIT_SECONDS) != CUT
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False

    def __enter__(self) -> Frontend:
        """Make a link to an engine directory whose name tokenizers could not open. It may not be UTF-8."""
        path = self._engine_dir.resolve()
        if self._ports.openai and not is_plain(path):
            folder = tempfile.TemporaryDirectory(prefix="llm-ensemble-", dir=scratch())
            self._engine_dir = plain_path(path, Path(self._folder.enter_context(folder)) / "engine")
        return self

    def __exit__(self, *_: object) -> None:
        with self._folder:
            self.drain(time.monotonic())

    def _start(self, now: float) -> None:
        command = [
            *(sys.executable, "-m", "openai_frontend", "--engine-dir", str(self._engine_dir)),
            *("--host", self._ports.host, "--port", str(self._ports.openai)),
            *("--grpc", netloc(connect_host(self._ports.host), self._ports.grpc)),
            *("--metrics", netloc(connect_host(self._ports.host), self._ports.metrics)),
            *("--drain-seconds", str(DRAIN_SECONDS)),
        ]
        # Wherever `serve` was started: an image has the package in no environment.
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        self._process = subprocess.Popen(
            [*END_WITH_PARENT, *command],
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # a Ctrl-C in the terminal is for `serve`
        )
        self._started_at = now

    def _is_listening(self) -> bool:
        try:
            socket.create_connection(
                (connect_host(self._ports.host), self._ports.openai), CONNECT_SECONDS
            ).close()
        except OSError:
            return False
        return True
