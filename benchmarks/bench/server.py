# SPDX-License-Identifier: Apache-2.0
"""The server that is asked: one that runs already, or one of our own."""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench.record import BenchError


@dataclass(frozen=True)
class ServerSeen:
    """protocol: grpc, http or openai. address: host:port to ask by it. http, ensemble: of Triton's HTTP and
    gRPC. pids: of its processes, if they are here.
    """

    protocol: str
    address: str
    http: str
    pids: tuple[int, ...] = ()
    ensemble: str = ""

    def version(self) -> str:
        """Return the server's version; "" if it does not report one."""
        if self.protocol == "grpc":
            import tritonclient.grpc as grpcclient

            with contextlib.suppress(Exception), grpcclient.InferenceServerClient(self.address) as client:
                metadata = client.get_server_metadata(client_timeout=10)
                return f"{metadata.name} {metadata.version}"
            return ""
        path, keys = ("version", ("version",)) if self.protocol == "openai" else ("v2", ("name", "version"))
        try:
            with urllib.request.urlopen(f"http://{self.address}/{path}", timeout=10) as answer:
                found = json.load(answer)
            return " ".join(str(found[key]) for key in keys)
        except (OSError, ValueError, KeyError):
            return ""


@contextlib.contextmanager
def server(arguments: argparse.Namespace) -> Iterator[ServerSeen]:
    """Provide the server that the arguments name, started if it must be. Raise BenchError."""
    if not arguments.serve:
        http = arguments.url if arguments.protocol == "http" else arguments.http_url
        yield ServerSeen(arguments.protocol, arguments.url, http, arguments.server_pid or ())
        return
    try:
        from benchmarks.frontend_process import FrontendError, frontend
        from serving.errors import PreflightError, TritonError
        from serving.preflight.checks import preflight
        from serving.tritonserver import free_ports, running
    except ImportError as error:
        raise BenchError("--serve works in the repository alone: start a server and give --url") from error
    ports = free_ports(openai=True)
    log = Path(tempfile.mkstemp(prefix="bench-server-", suffix=".log")[1])
    addresses = {
        "grpc": ports.grpc_netloc,
        "http": ports.http_url.removeprefix("http://"),
        "openai": f"{ports.host}:{ports.openai}",
    }
    try:
        preflight(arguments.serve, ports)
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(log.open("wb"))
            started = stack.enter_context(running(arguments.serve, ports, file))
            started.wait_ready(300)
            pids = [started.process.pid]
            if arguments.protocol == "openai":
                pids.append(stack.enter_context(frontend(arguments.serve, ports, file)).pid)
            address = addresses[arguments.protocol]
            yield ServerSeen(arguments.protocol, address, addresses["http"], tuple(pids), addresses["grpc"])
    except (PreflightError, TritonError, FrontendError) as error:
        raise BenchError(f"{error} ({log})") from error
    log.unlink()
