# SPDX-License-Identifier: Apache-2.0
"""tritonserver's command line: its options, and the stack limit that it starts with."""

from __future__ import annotations

import resource
import secrets
import sys
from pathlib import Path

from llm_ensemble.errors import SettingError
from serving.installation import Installation
from serving.listening import Ports
from serving.settings import ServerSettings

DRAIN_SECONDS = 30  # Triton's default: how long requests in flight may take to end
WITHOUT_GPU = ("--allow-gpu-metrics=false",)  # otherwise Triton logs that it cannot measure one
# A message of a stub wakes one of the idle threads that the Python backend has for its model, and the more
# there are, the colder it is. None of them waits for anything long.
THREADS = 8

# Model control, shared memory, trace and logging change the server for all its clients, and Triton offers
# them on the ports that serve requests. It can turn none of them off, only require a header.
ADMIN_APIS = ("model-repository", "shared-memory", "trace", "logging")
HTTP_HEADER = "admin-key"
GRPC_HEADER = f"triton-grpc-protocol-{HTTP_HEADER}"  # Triton's own prefix

TRACE_SERVICE = "llm-ensemble"

# tritonserver 2.51.0 reads JSON by recursion, about 80 bytes of stack a bracket, and keeps 16 bytes of stack
# for each piece of a chunked body; no option limits either. With Linux's default of 8 MB a body of 150,000
# brackets, or of 600,000 pieces, ends it by a segmentation fault (both seen). 26.07 reads JSON without
# recursion and refuses more than 65,536 pieces (read in its source), so its stacks stay as they are.
STACKS_FIXED = (2, 71)  # tritonserver of 26.07
STACK_BYTES = 1 << 30  # of each thread; address space only: unused stack takes no memory
OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
NEVER_OVERCOMMIT = "2"  # in this mode address space counts as used memory
SET_STACK_LIMIT = (
    "import os, resource, sys; soft, hard = resource.getrlimit(resource.RLIMIT_STACK); "
    "want = int(sys.argv[1]) if hard == resource.RLIM_INFINITY else min(int(sys.argv[1]), hard); "
    "resource.setrlimit(resource.RLIMIT_STACK, (want, hard)); os.execv(sys.argv[2], sys.argv[2:])"
)


def command(installation: Installation, backends: Path, repository: Path, ports: Ports) -> list[str]:
    """Return the command line, without the options that settings add.

    backends: the directory that lay_backend has filled. repository: the model repository.
    """
    return [
        str(installation.binary),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        # The committed config.pbtxt are complete; completing them would start each stage twice.
        "--disable-auto-complete-config",
        f"--backend-config=python,thread-pool-size={THREADS}",
        *ports.options,
        f"--exit-timeout-secs={DRAIN_SECONDS}",
    ]


def region_option(prefix: str) -> str:
    """Return the option that starts the name of every shared memory file of the stages with `prefix`."""
    return f"--backend-config=python,shm-region-prefix-name={prefix}"


def admin_options(settings: ServerSettings) -> list[str]:
    """Return the options that restrict the admin APIs.

    With an admin_key they are open to requests that carry it as a header. Without it they are closed: the key
    is random and ends with a line break, which no header can contain, so that it is of no use even to other
    users of the machine, who can read the command line.
    """
    key = settings.admin_key or secrets.token_hex(32) + "\n"
    restricted = f"{','.join(ADMIN_APIS)}:{HTTP_HEADER}={key}"
    return [f"--http-restricted-api={restricted}", f"--grpc-restricted-protocol={restricted}"]


def gpu_options(settings: ServerSettings) -> list[str]:
    """Return the options for metrics of the GPUs, none if tritonserver sees some and shall measure them."""
    measured = settings.gpu_metrics and Path("/dev/nvidiactl").exists()
    return [] if measured else [*WITHOUT_GPU]


def trace_options(settings: ServerSettings) -> list[str]:
    """Return the options for OpenTelemetry traces, none without a trace_url. Raises SettingError."""
    if not settings.trace_url:
        if settings.trace_rate:
            raise SettingError("TRACE_RATE does nothing without TRACE_URL: set that too, or neither")
        return []
    traces = (
        "mode=opentelemetry",
        f"opentelemetry,url={settings.trace_url}",
        f"opentelemetry,resource=service.name={TRACE_SERVICE}",
        f"rate={settings.trace_rate or 1}",
        "level=TIMESTAMPS",
    )
    return [f"--trace-config={trace}" for trace in traces]


def with_stack_limit(installation: Installation) -> tuple[str, ...]:
    """Return the prefix of a command line that starts it with stacks of STACK_BYTES.

    Empty where the server does not need them, or where they would cost memory. glibc gives every thread the
    stack limit that its process started with.
    """
    if not installation.is_before(*STACKS_FIXED):
        return ()
    limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    if limited or OVERCOMMIT.read_text().strip() == NEVER_OVERCOMMIT:
        return ()
    return (sys.executable, "-Sc", SET_STACK_LIMIT, str(STACK_BYTES))
