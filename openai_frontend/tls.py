# SPDX-License-Identifier: Apache-2.0
"""TLS for the frontend's port."""

from __future__ import annotations

import ssl


class TlsError(Exception):
    """Certificate and key cannot be used. The message says why."""


def server_context(certificate: str, key: str) -> ssl.SSLContext:
    """Return a context of TLS 1.2 or newer for a certificate and its key, PEM files. Raise TlsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # An empty password: with none a key that has a passphrase would be asked for at the terminal.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        reason = (error.reason or "no PEM file, or a passphrase").lower().replace("_", " ")
        raise TlsError(f"{certificate} and {key} cannot be used together ({reason})") from error
    except OSError as error:
        raise TlsError(f"{certificate} or {key} cannot be read ({error.strerror})") from error
    return context
