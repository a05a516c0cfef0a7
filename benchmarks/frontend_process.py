# SPDX-License-Identifier: Apache-2.0
"""OpenAI's API in front of a server that runs: a process of its own, as `serve` starts it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from llm_ensemble.child_process import END_WITH_PARENT
from serving.listening import Ports
from serving.tritonserver import ROOT

START_SECONDS = 60
STOP_SECONDS = 30


class FrontendError(Exception):
    """The frontend does not start; one line."""


@contextlib.contextmanager
def frontend(engine_dir: Path, ports: Ports, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Provide the frontend of the server at these ports, ready. Raise FrontendError."""
    command = [*END_WITH_PARENT, sys.executable, "-m", "openai_frontend"]
    command += ["--engine-dir", str(engine_dir.resolve())]
    command += ["--grpc", ports.grpc_netloc, "--port", str(ports.openai)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        _wait_ready(process, f"http://{ports.host}:{ports.openai}/health")
        yield process
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _wait_ready(process: subprocess.Popen[bytes], url: str) -> None:
    begun = time.monotonic()
    while process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        if time.monotonic() - begun > START_SECONDS:
            raise FrontendError(f"the frontend is not ready after {START_SECONDS} s")
        time.sleep(0.05)
    raise FrontendError(f"the frontend ended with {process.returncode} instead of starting")
