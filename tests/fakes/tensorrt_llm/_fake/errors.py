# SPDX-License-Identifier: Apache-2.0
"""The two errors of executor/utils.py."""


class RequestError(RuntimeError):
    """One request failed; the others go on."""


class EngineDeadError(RuntimeError):
    """After 1.2: a worker has died. Every open request gets this error, and every later one."""
