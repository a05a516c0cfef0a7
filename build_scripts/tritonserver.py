# SPDX-License-Identifier: Apache-2.0
"""The real tritonserver as a child process: found, given a Python backend that fits, started, stopped.

Serving, the demo and the tests all start it here and nowhere else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from build_scripts.admin_apis import AdminKeyError, restrictions
from build_scripts.installation import Installation, TritonError, find_installation
from build_scripts.instances import lay_repository, thread_pool
from build_scripts.stacks import with_room
from build_scripts.tracing import tracing
from llm_ensemble.errors import SettingError
from llm_ensemble.settings import read_gpu_settings

ROOT = Path(__file__).resolve().parent.parent
MODEL_REPOSITORY = ROOT / "model_repository"
# Should we be killed, the kernel ends tritonserver too: prctl(PR_SET_PDEATHSIG, SIGTERM), then exec.
# Not subprocess's preexec_fn: that is unsafe, and warns, in a process with threads.
END_WITH_PARENT = (
    sys.executable,
    "-Sc",
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.argv[1], sys.argv[1:])",
)
WITHOUT_GPU = ("--allow-gpu-metrics=false",)  # or Triton complains that it cannot measure one
# So that memory is flat from the start; a variable that is set already stays as it is.
STEADY_MEMORY = {
    # glibc keeps freed blocks of each size for each thread; tritonserver has 170 and would hoard for hours.
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
    "MALLOC_ARENA_MAX": "1",
    # oneDNN, inside OpenVINO, keeps the code it made for each shape it met: 1,024 pieces unless told.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
}
SHARED_MEMORY = Path("/dev/shm")
DRAIN_SECONDS = 30  # Triton's own default: how long requests in flight may take to end


@dataclass(frozen=True)
class Ports:
    """Where a server listens."""

    http: int
    grpc: int
    metrics: int
    host: str = "127.0.0.1"

    @property
    def http_url(self) -> str:
        """The root of the HTTP API."""
        return f"http://{self.host}:{self.http}"


def free_ports() -> Ports:
    """Ports that nobody listens on, for a server that must not be in anybody's way."""
    with socket.socket() as a, socket.socket() as b, socket.socket() as c:
        for one in (a, b, c):
            one.bind(("127.0.0.1", 0))
        return Ports(*(one.getsockname()[1] for one in (a, b, c)))


@contextlib.contextmanager
def running(
    engine_dir: Path, ports: Ports, log: IO[bytes] | None = None, repository: Path = MODEL_REPOSITORY
) -> Iterator[Server]:
    """A tritonserver serving `engine_dir`; on the way out it drains and ends, whatever happened inside.

    log: where its output goes, standard error by default. The server may still be loading: wait_ready.
    """
    installation = find_installation()
    instances = read_gpu_settings().instances
    try:
        options = [thread_pool(engine_dir, instances), *restrictions(), *tracing()]
    except (AdminKeyError, SettingError) as error:
        raise TritonError(str(error)) from error
    with tempfile.TemporaryDirectory(prefix="llm-ensemble-") as folder:
        backends = lay_backend(installation, Path(folder))
        repository = lay_repository(repository, Path(folder) / "models", instances)
        regions = Path(folder).name
        words = [*command(installation, backends, repository, ports), region_option(regions), *options]
        process = subprocess.Popen(
            [*END_WITH_PARENT, *with_room(), *words],
            env=environment(installation, engine_dir),
            stdout=log,
            stderr=subprocess.STDOUT if log is not None else None,
            # A Ctrl-C in the terminal is for us: we pass on one orderly signal.
            start_new_session=True,
        )
        server = Server(process, ports)
        try:
            yield server
        finally:
            server.stop()
            remove_regions(regions)


def region_option(prefix: str) -> str:
    """The option by which the steps' shared memory, files of /dev/shm, is recognized."""
    return f"--backend-config=python,shm-region-prefix-name={prefix}"


def remove_regions(prefix: str) -> None:
    """Give back the shared memory that killed processes have left: a mebibyte or more for each."""
    for region in SHARED_MEMORY.glob(f"{prefix}*"):
        region.unlink(missing_ok=True)


def lay_backend(installation: Installation, folder: Path) -> Path:
    """A backend directory in which the Python backend finds the fitting stub beside itself."""
    python = folder / "python"
    python.mkdir()
    for path in [*installation.backend.iterdir(), installation.stub]:
        if not (python / path.name).exists():
            (python / path.name).symlink_to(path)
    return folder


def command(installation: Installation, backends: Path, repository: Path, ports: Ports) -> list[str]:
    """The command line."""
    return [
        str(installation.binary),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        # The committed config.pbtxt are complete; completing them would start each step twice.
        "--disable-auto-complete-config",
        f"--http-address={ports.host}",
        f"--http-port={ports.http}",
        f"--grpc-address={ports.host}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-address={ports.host}",
        f"--metrics-port={ports.metrics}",
        f"--exit-timeout-secs={DRAIN_SECONDS}",
        *([] if Path("/dev/nvidiactl").exists() else WITHOUT_GPU),
    ]


def environment(installation: Installation, engine_dir: Path) -> dict[str, str]:
    """Our environment, in which the stub finds this interpreter, its packages, its libraries, the engine."""
    environ = STEADY_MEMORY | os.environ
    libraries = [*map(str, installation.libraries), environ.get("LD_LIBRARY_PATH", "")]
    environ["LD_LIBRARY_PATH"] = ":".join(filter(None, libraries))
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ.get('PATH', '')}"
    environ["ENGINE_DIR"] = str(engine_dir.resolve())
    return environ


def says_ready(http_url: str) -> bool:
    """Whether the server at the root of this HTTP API says that it is ready."""
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

    def wait_ready(self, seconds: float = 60) -> None:
        """Return once every model is loaded; raises TritonError if the server dies or takes too long."""
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
        """Whether the server says it is ready."""
        return says_ready(self.ports.http_url)

    def stop(self, seconds: float = DRAIN_SECONDS + 10) -> int:
        """Let requests in flight end, then the server, by force after so long; its exit status.

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
            self._kill_group()  # steps whose tritonserver died end by themselves, but take a moment
        return status

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
