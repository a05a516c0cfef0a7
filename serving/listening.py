# SPDX-License-Identifier: Apache-2.0
"""The address of this machine and the ports that a server listens on, and who is connected to them."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # for a server that listens on all addresses
HOST_ADVICE = "127.0.0.1 or ::1 (this machine only), 0.0.0.0 or :: (all addresses)"

# IPv4 connections to a socket that listens on `::` are in the second.
CONNECTION_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
ESTABLISHED = "01"


class HostError(Exception):
    """HOST cannot be listened on. The message is one line that says what to do."""


@dataclass(frozen=True)
class Ports:
    """An address, Triton's three ports, and that of OpenAI's API, 0 if it is off.

    host: an IPv4 or IPv6 address, without brackets.
    """

    http: int
    grpc: int
    metrics: int
    host: str = "127.0.0.1"
    openai: int = 0

    @property
    def http_url(self) -> str:
        """The root of the HTTP API."""
        return f"http://{netloc(self.host, self.http)}"

    @property
    def grpc_netloc(self) -> str:
        """The host and port that gRPC clients connect to."""
        return netloc(self.host, self.grpc)

    @property
    def metrics_url(self) -> str:
        """The URL that Prometheus scrapes."""
        return f"http://{netloc(self.host, self.metrics)}/metrics"

    @property
    def options(self) -> list[str]:
        """tritonserver's options, which mark IPv6 addresses: `ipv6:::1` for HTTP, `[::1]` for gRPC."""
        is_ipv6 = ":" in self.host
        http = f"ipv6:{self.host}" if is_ipv6 else self.host
        return [
            f"--http-address={http}",
            f"--http-port={self.http}",
            f"--grpc-address={f'[{self.host}]' if is_ipv6 else self.host}",
            f"--grpc-port={self.grpc}",
            f"--metrics-address={http}",
            f"--metrics-port={self.metrics}",
        ]


def netloc(host: str, port: int) -> str:
    """Return host:port, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def connect_host(host: str) -> str:
    """Return the address at which clients on this machine reach a server that listens on `host`."""
    return LOOPBACK.get(host, host)


def resolve(host: str) -> str:
    """Return the address of `host`, which is an address or a name. Raises HostError.

    Triton's HTTP front end takes an address, not a name: with `localhost`, 2.51.0 listens on no address and
    reports no error. IPv4 addresses of a name are preferred, since clients of either family try them.
    """
    try:
        name = host.removeprefix("[").removesuffix("]")
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise HostError(
            f"HOST={host} is no address, and no name that is known here: use {HOST_ADVICE}"
        ) from error
    family, *_, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    if family == socket.AF_INET:
        return str(address[0])
    if address[3:] > (0,):
        raise HostError(f"HOST={host} has a zone, which Triton does not take: use {HOST_ADVICE}")
    return str(ipaddress.IPv6Address(address[0]).ipv4_mapped or address[0])


def is_connected(port: int) -> bool:
    """Return whether a client has a connection to this port of this machine."""
    for table in CONNECTION_TABLES:
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
            if port in connected_ports(table.read_text()):
                return True
    return False


def connected_ports(table: str) -> set[int]:
    """Return the local ports of the established connections in a table of /proc/net, see proc(5)."""
    rows = [line.split() for line in table.splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == ESTABLISHED}
