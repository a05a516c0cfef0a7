# SPDX-License-Identifier: Apache-2.0
"""`serve` as an operator starts it: a process, its log, its exit status."""

import contextlib
import os
import subprocess
import sys

from build_scripts.tritonserver import ROOT, Server, free_ports


def serve_command(engine_dir, ports, module="build_scripts.serve"):
    return [
        *(sys.executable, "-m", module, "--engine-dir", str(engine_dir)),
        *("--http-port", str(ports.http), "--grpc-port", str(ports.grpc)),
        *("--metrics-port", str(ports.metrics)),
    ]


@contextlib.contextmanager
def served(engine_dir, log, ports=None, command=serve_command, **environ):
    """A running `serve`, ready; killed on the way out if the test did not end it."""
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
    """What `serve` says when it will not start."""
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
