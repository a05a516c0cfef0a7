# SPDX-License-Identifier: Apache-2.0
"""The image's entrypoint: a command, run as the child of a small init.

A container's first process must pass signals on and collect the processes that others left behind, which
an engine's workers can be. `docker run --init` would do it too, but nobody should have to know.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from build_scripts.tritonserver import END_WITH_PARENT, ROOT, says_ready

MOUNTED = Path("/engine")  # where README.md mounts an engine directory
DEMO = ROOT / "demo"  # the cpu image has it
PR_SET_CHILD_SUBREAPER = 36
HELP = """\
docker run ... IMAGE [COMMAND]

  serve                     serve the engine directory mounted at /engine (default; the cpu image brings a
                            small one): HTTP on 8000, gRPC on 8001, metrics on 8002, until it is stopped
  build --model ...         a Hugging Face checkpoint to an engine directory; build --help has the rest
  check                     whether the engine directory can be served here
  generate "PROMPT"         ask a server, by default the one in this container; generate --help has the rest
  help                      this text

In a running container: docker exec NAME llm-ensemble generate "PROMPT"
Settings are environment variables: ENGINE_DIR, HOST, HTTP_PORT, GRPC_PORT, METRICS_PORT, ADMIN_KEY,
MAX_WAITING, DEADLINE_MS, HANG_SECONDS, ON_DEAD, TRACE_URL, TRACE_RATE; README.md says more.
"""


def command(arguments: Sequence[str], environ: Mapping[str, str]) -> list[str] | None:
    """What Python is to run for the command line; None if there is no such command."""
    name, *rest = arguments or ["serve"]
    if name in ("serve", "check"):
        module = {"serve": "build_scripts.serve", "check": "build_scripts.preflight"}[name]
        return ["-m", module, *_where(environ), *rest]
    if name in ("build", "generate"):
        return ["-m", f"build_scripts.{name}", *rest]
    return None


def _where(environ: Mapping[str, str]) -> list[str]:
    """The engine directory and the ports, named as make names them."""
    engine_dir = environ.get("ENGINE_DIR") or (DEMO if DEMO.exists() and not MOUNTED.exists() else MOUNTED)
    return [
        f"--engine-dir={engine_dir}",
        f"--host={environ.get('HOST', '0.0.0.0')}",
        f"--http-port={environ.get('HTTP_PORT', '8000')}",
        f"--grpc-port={environ.get('GRPC_PORT', '8001')}",
        f"--metrics-port={environ.get('METRICS_PORT', '8002')}",
    ]


def run(arguments: Sequence[str]) -> int:
    """Run Python as a child, pass signals on, collect every process that ends; the child's exit status."""
    # Orphans are then ours to collect also where this is not process 1, as under docker run --init.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    children: list[int] = []
    early: list[int] = []

    def pass_on(number: int, _: object) -> None:
        if children:
            os.kill(children[0], number)
        else:
            early.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    child = subprocess.Popen([*END_WITH_PARENT, sys.executable, *arguments])
    children.append(child.pid)
    for number in early:
        os.kill(child.pid, number)
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode if child.returncode >= 0 else 128 - child.returncode


def healthy(environ: Mapping[str, str]) -> bool:
    """Whether the server in this container is ready."""
    return says_ready(f"http://127.0.0.1:{environ.get('HTTP_PORT', '8000')}")


def main(arguments: Sequence[str]) -> int:
    """Run one command; 2 with the help if it is none."""
    if arguments[:1] in (["help"], ["--help"], ["-h"]):
        sys.stdout.write(HELP)
        return 0
    if arguments == ["health"]:
        return 0 if healthy(os.environ) else 1
    python = command(arguments, os.environ)
    if python is None:
        sys.stderr.write(f"llm-ensemble: no command {arguments[0]!r}\n\n{HELP}")
        return 2
    if arguments[0] == "build" and not importlib.util.find_spec("torch"):
        sys.stderr.write("build: this image has no torch, it only serves: use the gpu image, or make build\n")
        return 1
    return run(python)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
