# SPDX-License-Identifier: Apache-2.0
"""The image's entrypoint: runs a command as the child of a small init.

A container's first process must pass signals on and collect orphaned processes, which an engine's workers can
become. `docker run --init` would do that too, but the image must not depend on an option.
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

from llm_ensemble.child_process import END_WITH_PARENT
from llm_ensemble.settings import read
from serving.listening import connect_host, netloc
from serving.settings import ImageSettings
from serving.tritonserver import ROOT, is_ready

MOUNTED = Path("/engine")  # where README.md mounts an engine directory
DEMO = ROOT / "demo"  # in the cpu image
PR_SET_CHILD_SUBREAPER = 36
MODULES = {
    "serve": ["serving.serve"],
    "check": ["serving.preflight"],
    "build": ["build_scripts.build"],
    "generate": ["llm_ensemble_client", "generate"],
}
HELP = """\
docker run ... IMAGE [COMMAND]

  serve                     serve the engine directory mounted at /engine (default; the cpu image brings a
                            small one): HTTP on 8000, gRPC on 8001, metrics on 8002, OpenAI's API on 9000,
                            until it is stopped
  build --model ...         build an engine directory of a Hugging Face checkpoint (see build --help)
  check                     check that the engine directory can be served here
  generate "PROMPT"         send a prompt to a server, by default this container's (see generate --help)
  help                      show this text

In a running container: docker exec NAME llm-ensemble generate "PROMPT"
Settings are environment variables: ENGINE_DIR, HOST, HTTP_PORT, GRPC_PORT, METRICS_PORT, OPENAI_PORT,
OPENAI_API_KEYS, ADMIN_KEY, MAX_WAITING, DEADLINE_MS, LOG_FORMAT, LOG_TEXT, HANG_SECONDS, ON_DEAD, TRACE_URL,
TRACE_RATE; docs/settings.md explains them.
"""


def command(arguments: Sequence[str], environ: Mapping[str, str]) -> list[str] | None:
    """Return the arguments of the Python that runs the command line; None if there is no such command."""
    name, *rest = arguments or ["serve"]
    if name not in MODULES:
        return None
    options = _serving_options(environ) if name in ("serve", "check") else []
    return ["-m", *MODULES[name], *options, *rest]


def _serving_options(environ: Mapping[str, str]) -> list[str]:
    """Return the options for engine directory and ports, by the variables that make uses too."""
    settings = read(ImageSettings, environ)
    engine_dir = environ.get("ENGINE_DIR") or (DEMO if DEMO.exists() and not MOUNTED.exists() else MOUNTED)
    return [
        f"--engine-dir={engine_dir}",
        f"--host={settings.host}",
        f"--http-port={settings.http_port}",
        f"--grpc-port={settings.grpc_port}",
        f"--metrics-port={settings.metrics_port}",
        f"--openai-port={settings.openai_port}",
    ]


def run(arguments: Sequence[str]) -> int:
    """Run Python as a child, pass signals on, collect every process that ends; return the exit status."""
    # Orphans then become children also where this is not process 1, as under docker run --init.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    children: list[int] = []
    early: list[int] = []

    def forward(number: int, _: object) -> None:
        if children:
            os.kill(children[0], number)
        else:
            early.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)
    child = subprocess.Popen([*END_WITH_PARENT, sys.executable, *arguments])
    children.append(child.pid)
    for number in early:
        os.kill(child.pid, number)
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode if child.returncode >= 0 else 128 - child.returncode


def local_url(environ: Mapping[str, str]) -> str:
    """Return the HTTP root of the server in this container."""
    settings = read(ImageSettings, environ)
    return f"http://{netloc(connect_host(settings.host), int(settings.http_port))}"


def healthy(environ: Mapping[str, str]) -> bool:
    """Return whether the server in this container is ready.

    The server, not the ensemble: Triton responds with 200 for the ensemble when one of its stages has died,
    in 26.07, too.
    """
    return is_ready(local_url(environ))


def main(arguments: Sequence[str]) -> int:
    """Run one command; show the help and return 2 if there is no such command."""
    if arguments[:1] in (["help"], ["--help"], ["-h"]):
        sys.stdout.write(HELP)
        return 0
    if arguments == ["health"]:
        return 0 if healthy(os.environ) else 1
    python = command(arguments, os.environ)
    if python is None:
        sys.stderr.write(f"llm-ensemble: no command {arguments[0]!r}\n\n{HELP}")
        return 2
    if arguments[:1] == ["build"] and not importlib.util.find_spec("torch"):
        sys.stderr.write("build: this image has no torch, it only serves: use the gpu image, or make build\n")
        return 1
    os.environ.setdefault("LLM_ENSEMBLE_URL", local_url(os.environ))  # of generate
    return run(python)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
