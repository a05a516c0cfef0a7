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

from client.bench_record import BenchError


@dataclass(frozen=True)
class ServerSeen:
    """protocol: grpc or http. address: host:port to ask by it. http: of Triton's HTTP. pid: if it is here."""

    protocol: str
    address: str
    http: str
    pid: int | None

    def version(self) -> str:
        """What the server says it is; "" if it does not say."""
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
    """The server that the arguments name, started if need be. Raises BenchError."""
    if not arguments.serve:
        http = arguments.url if arguments.protocol == "http" else arguments.http_url
        yield ServerSeen(
            arguments.protocol, _host_and_port(arguments.url), _host_and_port(http), arguments.server_pid
        )
        return
    try:
        from build_scripts.installation import TritonError
        from build_scripts.preflight import preflight
        from build_scripts.preflight_error import PreflightError
        from build_scripts.tritonserver import free_ports, running
    except ImportError as error:
        raise BenchError("--serve works in the repository alone: start a server and give --url") from error
    ports = free_ports()
    log = Path(tempfile.mkstemp(prefix="bench-server-", suffix=".log")[1])
    try:
        preflight(arguments.serve, ports)
        with log.open("wb") as file, running(arguments.serve, ports, file) as started:
            started.wait_ready(300)
            http = f"{ports.host}:{ports.http}"
            address = http if arguments.protocol == "http" else f"{ports.host}:{ports.grpc}"
            yield ServerSeen(arguments.protocol, address, http, started.process.pid)
    except (PreflightError, TritonError) as error:
        raise BenchError(f"{error} ({log})") from error
    log.unlink()


def server_environment() -> dict[str, str]:
    """What a server of ours has in its environment, so that a bare engine runs like the one inside it."""
    try:
        from build_scripts.tritonserver import STEADY_MEMORY
    except ImportError:
        return {}
    return dict(STEADY_MEMORY)


def _host_and_port(url: str) -> str:
    return url.removeprefix("http://").removeprefix("grpc://").rstrip("/")
