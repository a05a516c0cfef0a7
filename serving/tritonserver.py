# SPDX-License-Identifier: Apache-2.0
"""The real tritonserver as a child process: started, asked for its readiness, stopped.

Serving, the demo, the benchmarks and the tests all start it here.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from llm_ensemble.child_process import END_WITH_PARENT
from llm_ensemble.engines.kinds import engine_kind, package_folders, read_served
from llm_ensemble.errors import SettingError
from llm_ensemble.settings import read
from serving.beside.ipv4_proxy import ipv4_proxy
from serving.engine_python import find_engine_python
from serving.errors import TritonError
from serving.installation import find_installation
from serving.listening import Ports
from serving.plain_paths import SHARED_MEMORY, scratch
from serving.server_environment import (
    ENGINE_STAGE,
    POSTPROCESSING,
    environment,
    lay_backend,
    lay_repository,
    postprocessing_instances,
)
from serving.server_options import (
    DRAIN_SECONDS,
    admin_options,
    command,
    gpu_options,
    region_option,
    trace_options,
    with_stack_limit,
)
from serving.settings import ServerSettings

ROOT = Path(__file__).resolve().parent.parent
MODEL_REPOSITORY = ROOT / "model_repository"
EPHEMERAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
PICK = random.SystemRandom()  # processes that start at once must not pick alike
START_SECONDS = 240  # an engine that compiles kernels takes minutes the first time


def free_ports(*, openai: bool = False) -> Ports:
    """Return ports of 127.0.0.1 that are free now, for a server that must not disturb others.

    openai: whether OpenAI's API gets one, too; without, it is off.
    None that the kernel may give to a connection before the server listens, where it leaves enough of those.
    """
    try:
        below = int(EPHEMERAL_PORTS.read_text().split()[0])
    except OSError:
        below = 0
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        while len(found) < 4:
            port = PICK.randrange(10_000, below) if below > 20_000 else 0
            one = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                one.bind(("127.0.0.1", port))
                found.append(one.getsockname()[1])
        http, grpc, metrics, frontend = found
        return Ports(http, grpc, metrics, openai=frontend if openai else 0)


@contextlib.contextmanager
def running(
    engine_dir: Path, ports: Ports, log: IO[bytes] | None = None, repository: Path = MODEL_REPOSITORY
) -> Iterator[Server]:
    """Start a tritonserver for `engine_dir`; drain and end it when the context closes. Raises TritonError.

    log: where its output goes, standard error by default. The server may still be loading: see wait_ready.
    """
    installation = find_installation()
    try:
        settings, manifest = read_served(engine_dir)
        server_settings = read(ServerSettings, os.environ)
        python = find_engine_python(engine_kind(manifest.engine), server_settings)
        options = [
            *admin_options(server_settings),
            *trace_options(server_settings),
            *gpu_options(server_settings),
        ]
    except SettingError as error:
        raise TritonError(str(error)) from error
    with tempfile.TemporaryDirectory(prefix="llm-ensemble-", dir=scratch()) as name, ipv4_proxy(ports):
        folder = Path(name)
        backends = lay_backend(installation, folder, package_folders(manifest.engine))
        engines = settings.engine.instances
        counts = {ENGINE_STAGE: engines, POSTPROCESSING: postprocessing_instances(engines)}
        repository = lay_repository(repository, folder / "models", counts)
        regions = f"{folder.name}_"
        words = [*command(installation, backends, repository, ports), region_option(regions), *options]
        process = subprocess.Popen(
            [*END_WITH_PARENT, *with_stack_limit(installation), *words],
            env=environment(
                installation, engine_dir, python.path, folder, gpu_metrics=server_settings.gpu_metrics
            ),
            stdout=log,
            stderr=subprocess.STDOUT if log is not None else None,
            # A Ctrl-C in the terminal is for this process, which then ends the server in order.
            start_new_session=True,
        )
        server = Server(process, ports)
        try:
            yield server
        finally:
            server.stop()
            remove_regions(regions)


def remove_regions(prefix: str) -> None:
    """Remove the shared memory that killed processes have left: a mebibyte or more for each."""
    for region in SHARED_MEMORY.glob(f"{prefix}*"):
        region.unlink(missing_ok=True)


def is_ready(http_url: str) -> bool:
    """Return whether the server at the root of this HTTP API says that it is ready."""
    try:
        with urllib.request.urlopen(f"{http_url}/v2/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


class Server:
    """A started tritonserver."""

    def __init__(self, process: subprocess.Popen[bytes], ports: Ports) -> None:
        self.process = process
        self.ports = ports

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Return once every model is loaded. Raises TritonError if the server ends or takes too long."""
        deadline = time.monotonic() + seconds
        while not self.ready():
            if self.process.poll() is not None:
                raise TritonError(
                    f"tritonserver ended with {self.process.returncode} while loading: see its log"
                )
            if time.monotonic() > deadline:
                raise TritonError(f"tritonserver was not ready within {seconds:g} s: see its log")
            time.sleep(0.05)

    def ready(self) -> bool:
        """Return whether the server says that it is ready."""
        return is_ready(self.ports.http_url)

    def stop(self, seconds: float = DRAIN_SECONDS + 10) -> int:
        """Let requests in flight end, then the server, killing it after `seconds`; return its exit status.

        Safe to call twice.
        """
        if self.process.poll() is None:
            self.process.terminate()
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._kill_group()
            status = self.process.wait()
        if status:
            self._kill_group()  # stubs whose tritonserver died end by themselves, but take a moment
        return status

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
