# SPDX-License-Identifier: Apache-2.0
"""Preflight's part for where a server listens: its address is this machine's, its ports are free."""

from __future__ import annotations

import errno
import socket

from serving.errors import PreflightError
from serving.listening import HOST_ADVICE, Ports

OPENAI = "OPENAI_PORT"
NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EINVAL, errno.EAFNOSUPPORT)


def check_ports(ports: Ports) -> None:
    """Check that the server may listen there. Raises PreflightError."""
    wanted = {"HTTP_PORT": ports.http, "GRPC_PORT": ports.grpc, "METRICS_PORT": ports.metrics}
    if ports.openai:
        wanted[OPENAI] = ports.openai
    if len(set(wanted.values())) < len(wanted):
        *most, last = wanted
        raise PreflightError(f"{', '.join(most)} and {last} must differ, got {[*wanted.values()]}")
    for name, port in wanted.items():
        for host in ("::", "0.0.0.0") if ports.host == "::" else (ports.host,):
            _check_port(name, host, port)


def _check_port(name: str, host: str, port: int) -> None:
    try:
        _bind(host, port)
    except OverflowError as error:
        raise PreflightError(f"{name}={port} is no port number: use 1 to 65535") from error
    except OSError as error:
        if error.errno in NO_SUCH_ADDRESS:
            raise PreflightError(f"HOST={host} {_why_not(host)}") from error
        taken = error.errno == errno.EADDRINUSE
        reason = "is taken" if taken else f"cannot be used on {host} ({error.strerror})"
        otherwise = f", or none with {name}=0" if name == OPENAI else ""
        raise PreflightError(f"port {port} {reason}: choose another with {name}=...{otherwise}") from error


def _why_not(host: str) -> str:
    if host in ("::", "::1"):
        return "needs IPv6, which this machine has not: use 127.0.0.1 or 0.0.0.0"
    return f"is no address of this machine: use {HOST_ADVICE}"


def _bind(host: str, port: int) -> None:
    """Take the port for a moment, as Triton's HTTP front does. Raises OSError, OverflowError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind((host, port))
