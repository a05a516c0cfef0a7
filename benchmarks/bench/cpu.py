# SPDX-License-Identifier: Apache-2.0
"""Seconds of CPU that a process and all it started have taken, and the whole machine, from /proc."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process and its living descendants; 0 if it has gone."""
    return sum(_own_seconds(one) for one in family(pid))


def machine_seconds() -> float | None:
    """Return the CPU seconds of all processes of the machine; None where they cannot be read."""
    try:
        words = Path("/proc/stat").read_text().splitlines()[0].split()
    except OSError:
        return None
    user, nice, system, _idle, _waiting, irq, softirq, stolen = map(int, words[1:9])
    return (user + nice + system + irq + softirq + stolen) / os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """Return a process and its living descendants."""
    found = [pid]
    with contextlib.suppress(OSError):  # a process that ends while it is read
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                for child in (task / "children").read_text().split():
                    found += family(int(child))
    return found


def _own_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
