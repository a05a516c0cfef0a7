# SPDX-License-Identifier: Apache-2.0
"""Which of Triton's APIs are for the operator alone, and the options that keep everybody else out.

Model control, shared memory, trace and logging change the server for all its clients, and Triton answers
them for whoever reaches its ports. It can turn none of them off, only ask for a header.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping

ADMIN_APIS = ("model-repository", "shared-memory", "trace", "logging")
HTTP_HEADER = "admin-key"
GRPC_HEADER = f"triton-grpc-protocol-{HTTP_HEADER}"  # Triton's own prefix
KEY = re.compile(r"[A-Za-z0-9._-]{16,}")  # what Triton's option can say: it splits at ",", ":" and "="


class AdminKeyError(Exception):
    """ADMIN_KEY cannot be used; one line that says why."""


def restrictions(environ: Mapping[str, str] = os.environ) -> list[str]:
    """tritonserver's options; raises AdminKeyError.

    ADMIN_KEY opens the APIs to who sends it as a header. Without it nobody gets in: the key is random,
    and ends with a line break, which no header can have, so that not even who reads our command line
    (any user of the machine can) may use it.
    """
    key = environ.get("ADMIN_KEY", "")
    if key and not KEY.fullmatch(key):
        raise AdminKeyError("ADMIN_KEY must be 16 or more letters, digits, dots, dashes or underscores")
    restricted = f"{','.join(ADMIN_APIS)}:{HTTP_HEADER}={key or secrets.token_hex(32) + chr(10)}"
    return [f"--http-restricted-api={restricted}", f"--grpc-restricted-protocol={restricted}"]
