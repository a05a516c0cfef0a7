# SPDX-License-Identifier: Apache-2.0
"""Where a server is: scheme, host and port of a URL."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass

from client.errors import InvalidRequest

PORTS = {"http": 8000, "https": 443, "grpc": 8001, "grpcs": 443}


@dataclass(frozen=True)
class Address:
    """A server's address; `prefix` is what a proxy may want before every HTTP path."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @property
    def is_secure(self) -> bool:
        """Whether to speak TLS."""
        return self.scheme in ("https", "grpcs")

    @property
    def netloc(self) -> str:
        """host:port, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """As it could be given again."""
        return f"{self.scheme}://{self.netloc}{self.prefix}"


def parse_url(url: str) -> Address:
    """Read http://, https://, grpc:// or grpcs://HOST[:PORT]; the port is Triton's own (or 443 with TLS).

    Raises InvalidRequest when it is none of these.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidRequest(f"url: {url!r} cannot be read: {error}", "url") from error
    if parts.scheme not in PORTS or not parts.hostname:
        raise InvalidRequest(
            f"url: got {url!r}, must be like http://localhost:8000 or grpc://localhost:8001", "url"
        )
    return Address(parts.scheme, parts.hostname, port or PORTS[parts.scheme], parts.path.rstrip("/"))
