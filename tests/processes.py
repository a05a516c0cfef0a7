# SPDX-License-Identifier: Apache-2.0
"""What /proc says of a server's processes."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    pid: int
    command: str

    @property
    def cpu_seconds(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def resident(self):
        """Bytes of its memory that are in RAM."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def mapped(self):
        """The files mapped into its memory."""
        lines = Path(f"/proc/{self.pid}/maps").read_text().splitlines()
        return {line.split(maxsplit=5)[5] for line in lines if line.count(" ") > 5 and "/" in line}


def descendants(pid):
    """The process itself and everything it started."""
    found = [Process(pid, Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())]
    for task in Path(f"/proc/{pid}/task").iterdir():
        children = ""
        with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
            children = (task / "children").read_text()
        for child in children.split():
            found += descendants(int(child))
    return found


def resident_by_step(pid):
    """Megabytes resident of a server: of each step's processes, and of all others together."""
    found = {}
    for process in descendants(pid):
        name = next((step for step in STEPS if f"/{step}/" in process.command), "tritonserver")
        found[name] = round(found.get(name, 0) + process.resident / 1e6, 1)
    return found


STEPS = ("tensorrt_llm", "postprocessing", "preprocessing", "ensemble_unary")
