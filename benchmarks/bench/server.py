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
    """protocol: grpc or http. address: host:port to ask by it. http: of Triton's HTTP. pid: if it is here."""

    protocol: str
    address: str
    http: str
    pid: int | None

    def version(self) -> str:
        """Return the server's version; "" if it does not report one."""
        if self.protocol == "grpc":
            import tritonclient.grpc as grpcclient

            with contextlib.suppress(Exception), grpcclient.InferenceServerClient(self.address) as client:
                metadata = client.get_server_metadata(client_timeout=10)
                return f"{metadata.name} {metadata.version}"
            return ""
        try:
            with urllib.request.urlopen(f"http://{self.address}/v2", timeout=10) as answer:
                found = json.load(answer)
            return f"{found['name']} {found['version']}"
        except (OSError, ValueError, KeyError):
            return ""


@contextlib.contextmanager
def server(arguments: argparse.Namespace) -> Iterator[ServerSeen]:
    """Provide the server that the arguments name, started if it must be. Raise BenchError."""
    if not arguments.serve:
        http = arguments.url if arguments.protocol == "http" else arguments.http_url
        yield ServerSeen(arguments.protocol, arguments.url, http, arguments.server_pid)
        return
    try:
        from serving.errors import PreflightError, TritonError
        from serving.preflight.checks import preflight
        from serving.tritonserver import free_ports, running
    except ImportError as error:
        raise BenchError("--serve works in the repository alone: start a server and give --url") from error
    ports = free_ports()
    log = Path(tempfile.mkstemp(prefix="bench-server-", suffix=".log")[1])
    try:
        preflight(arguments.serve, ports)
        with log.open("wb") as file, running(arguments.serve, ports, file) as started:
            started.wait_ready(300)
            http = ports.http_url.removeprefix("http://")
            address = http if arguments.protocol == "http" else ports.grpc_netloc
            yield ServerSeen(arguments.protocol, address, http, started.process.pid)
    except (PreflightError, TritonError) as error:
        raise BenchError(f"{error} ({log})") from error
    log.unlink()
