# SPDX-License-Identifier: Apache-2.0
"""The processes of a tritonserver's Python steps: which there are, and which have died.

tritonserver 2.51.0 does not restart a step's process that died, does not collect it, and goes on saying that
it is ready. So this looks itself, in /proc, where a process that died is gone or a zombie.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

STUB = b"triton_python_backend_stub"
DEAD = "ZX"  # proc(5): zombie, dead


@dataclass(frozen=True)
class Step:
    """One step's process; of several instances each is one."""

    model: str
    pid: int

    @property
    def lives(self) -> bool:
        """Whether it runs, or is stopped: a step that hangs lives."""
        try:
            status = Path(f"/proc/{self.pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return status.rpartition(")")[2].split()[0] not in DEAD


def find_steps(pid: int) -> list[Step]:
    """The steps of the tritonserver whose process is `pid`; once it is ready, these are all it will have."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            for child in (task / "children").read_text().split():
                words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                if words[0].endswith(STUB):
                    # The stub's first argument is MODEL/VERSION/model.py.
                    found.append(Step(Path(words[1].decode()).parent.parent.name, int(child)))
    return found
