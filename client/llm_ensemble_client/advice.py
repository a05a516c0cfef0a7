# SPDX-License-Identifier: Apache-2.0
"""Advice after a call failed: finds out what listens at the server's address.

Every library reports a wrong port differently ("Socket closed", "Method Not Allowed", the bytes of a frame),
so the port is probed. A gRPC server begins its response with an HTTP/2 SETTINGS frame, whatever it receives.
"""

from __future__ import annotations

import dataclasses
import socket
from contextlib import suppress

from llm_ensemble_client.address import Address

SECONDS = 2.0  # timeout of each connection and read
SETTINGS = b"\x04"  # the type of an HTTP/2 frame, its fourth byte (RFC 9113, 4.1)
NAMES = {"http": "HTTP", "grpc": "gRPC"}
MAX_READ = 4096  # bytes; enough for the headers of a response and some metrics


def advice(address: Address) -> str:
    """Return what is wrong with the address and what to do; "" if a server of its scheme listens there."""
    try:
        found = _protocol(address)
    except socket.gaierror:
        return f"No host is known as {address.host}: check --url or LLM_ENSEMBLE_URL."
    except ConnectionRefusedError:
        return (
            f"Nothing listens at {address.netloc}: start the server (make serve), or give its address with "
            "--url or LLM_ENSEMBLE_URL."
        )
    except (OSError, ValueError):
        return ""  # the error of the call is all that is known
    if found == "metrics":
        return (
            f"Port {address.port} serves Triton's metrics: give its HTTP port (8000 by default), or its gRPC "
            "port (8001) as grpc://HOST:PORT."
        )
    if found in ("", address.scheme):
        return ""
    url = dataclasses.replace(address, scheme=found).url
    return f"Port {address.port} speaks {NAMES[found]}: try --url {url}"


def _protocol(address: Address) -> str:
    """Return http, grpc, metrics, or "" if unknown. Raise OSError if there is no connection."""
    answer = _probe(address, "/v2")
    if answer[3:4] == SETTINGS:
        return "grpc"
    status, _, _ = answer.partition(b"\r\n")
    if not status.startswith(b"HTTP/") or b" 400 " in status:  # 400: plain text on a proxy's TLS port
        return ""
    return "metrics" if b"nv_" in _probe(address, "/metrics") else "http"


def _probe(address: Address, path: str) -> bytes:
    """Return the first bytes that the port sends in response to an HTTP request; empty if none."""
    request = f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n"
    answer = b""
    connection = socket.create_connection((address.host, address.port), SECONDS)
    with connection, suppress(OSError):  # a reset ends the response
        connection.sendall(request.encode())
        while len(answer) < MAX_READ and (data := connection.recv(MAX_READ)):
            answer += data
    return answer
