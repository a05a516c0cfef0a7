# SPDX-License-Identifier: Apache-2.0
"""The address of a server, read from a URL."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass

from llm_ensemble_client.errors import InvalidRequest

DEFAULT_PORTS = {"http": 8000, "https": 443, "grpc": 8001, "grpcs": 443}


@dataclass(frozen=True)
class Address:
    """A server's address. prefix: the path of its URL, put before every HTTP path, for proxies."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @property
    def is_secure(self) -> bool:
        """Whether to use TLS."""
        return self.scheme in ("https", "grpcs")

    @property
    def netloc(self) -> str:
        """host:port, with an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL of this address."""
        return f"{self.scheme}://{self.netloc}{self.prefix}"


def parse_url(url: str, scheme: str = "") -> Address:
    """Return the address of [SCHEME://]HOST[:PORT][/PREFIX]; the scheme is http, https, grpc or grpcs.

    scheme: of a URL without one; by default grpc for port 8001, Triton's for gRPC, else http. The default
    port is Triton's, or 443 with TLS. Raise InvalidRequest for a malformed URL.
    """
    try:
        parts = urllib.parse.urlsplit(url if "://" in url else f"//{url}")
        port = parts.port
    except ValueError as error:
        raise InvalidRequest(f"url: {url!r} cannot be read: {error}", "url") from error
    scheme = parts.scheme or scheme or ("grpc" if port == DEFAULT_PORTS["grpc"] else "http")
    if scheme not in DEFAULT_PORTS or not parts.hostname:
        raise InvalidRequest(
            f"url: got {url!r}, must be like localhost:8000, http://localhost:8000 or grpc://localhost:8001",
            "url",
        )
    return Address(scheme, parts.hostname, port or DEFAULT_PORTS[scheme], parts.path.rstrip("/"))
