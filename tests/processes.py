# SPDX-License-Identifier: Apache-2.0
"""A server's processes, by /proc."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

STAGES = ("tensorrt_llm", "postprocessing", "preprocessing", "ensemble_unary")


@dataclass(frozen=True)
class Process:
    pid: int
    command: str

    @property
    def resident(self):
        """Resident memory in bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def mapped(self):
        """The files mapped into its memory."""
        lines = Path(f"/proc/{self.pid}/maps").read_text().splitlines()
        return {line.split(maxsplit=5)[5] for line in lines if line.count(" ") > 5 and "/" in line}


def descendants(pid):
    """Return the process itself and all its descendants."""
    found = [Process(pid, Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())]
    for task in Path(f"/proc/{pid}/task").iterdir():
        children = ""
        with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
            children = (task / "children").read_text()
        for child in children.split():
            found += descendants(int(child))
    return found


def resident_by_stage(pid):
    """Return a server's resident memory in megabytes: of each stage, and of all other processes together."""
    found = {}
    for process in descendants(pid):
        name = next((stage for stage in STAGES if f"/{stage}/" in process.command), "tritonserver")
        found[name] = round(found.get(name, 0) + process.resident / 1e6, 1)
    return found
