# SPDX-License-Identifier: Apache-2.0
"""`serve` as an operator starts it: its process, log and exit status."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from serving.tritonserver import ROOT, Server, free_ports
from tests.processes import STAGES, descendants
from tests.waiting import SECONDS, wait_for

FAILED = 3  # the exit status of a `serve` that was ready and then failed


def serve_command(engine_dir, ports, module="serving.serve"):
    return [
        *(sys.executable, "-m", module, "--engine-dir", str(engine_dir)),
        *("--http-port", str(ports.http), "--grpc-port", str(ports.grpc)),
        *("--metrics-port", str(ports.metrics), "--openai-port", str(ports.openai), "--host", ports.host),
    ]


@contextlib.contextmanager
def served(engine_dir, log, ports=None, command=serve_command, **environ):
    """Start a `serve` and wait until it is ready; kill it when the context closes, if it still runs."""
    ports = ports or free_ports()
    environ = {**os.environ, **{name: str(value) for name, value in environ.items()}}
    with log.open("wb") as file:
        process = subprocess.Popen(
            command(engine_dir, ports), cwd=ROOT, stdout=file, stderr=file, env=environ
        )
    server = Server(process, ports)
    try:
        server.wait_ready()
        yield server
    finally:
        process.kill()
        process.wait()


def refused(engine_dir, ports=None, command=serve_command, **environ):
    """Return the one line of a `serve` that refuses to start."""
    done = subprocess.run(
        command(engine_dir, ports or free_ports()),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environ},
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    return line


def is_healthy(ports):
    """Return whether OpenAI's API answers that it is."""
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(f"http://{ports.host}:{ports.openai}/health") as answer,
    ):
        return answer.status == 200
    return False


class ReadyServe:
    """A ready `serve` and its processes."""

    def __init__(self, server, log):
        self.server, self._log = server, log
        self.processes = descendants(server.process.pid)

    def process(self, part):
        """Return the one process whose program has this in its command line."""
        (found,) = [process for process in self.processes[1:] if part in process.command.split("\0")[0]]
        return found

    def stub(self, name):
        return self.process(f"/{name}/1/model.py")

    @property
    def last_line(self):
        return self._log.read_text().splitlines()[-1]

    @property
    def log_tail(self):
        return self._log.read_text()[-3000:]

    def leftovers(self):
        """Return the processes and shared memory that `serve` left behind."""
        regions = {process.command.split()[2] for process in self.processes if "_stub " in process.command}
        assert len(regions) == len(STAGES)
        left = [process for process in self.processes if os.path.exists(f"/proc/{process.pid}")]
        return left + [region for region in regions if Path("/dev/shm", region).exists()]

    def wait_not_ready(self, seconds):
        wait_for(lambda: not self.server.ready(), seconds)

    def wait_failed(self):
        """Wait until `serve` has ended as it does when a process died, with nothing left behind."""
        assert self.server.process.wait(SECONDS) == FAILED, self.log_tail
        wait_for(lambda: self.leftovers() == [])


@contextlib.contextmanager
def one_each(names, engine_dir, folder, **environ):
    """Start a `serve` for each name."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(ready_serve(engine_dir, folder / name, **environ)) for name in names}


@contextlib.contextmanager
def ready_serve(engine_dir, log, **environ):
    """Start a `serve` of the pace engine, with a token each 20 ms."""
    with served(engine_dir, log, PACE_INTERVAL_MS=20, **environ) as server:
        while " is ready: " not in log.read_text():  # Triton says so a moment before `serve` knows
            time.sleep(0.02)
        yield ReadyServe(server, log)
