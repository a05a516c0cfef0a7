# SPDX-License-Identifier: Apache-2.0
"""The processes of a tritonserver's Python steps: which there are, and which have died.

tritonserver 2.51.0 does not restart a step's process that died, does not collect it, and goes on saying that
it is ready. So this looks itself, in /proc, where a process that died is gone or a zombie.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from build_scripts.installation import STUB

DEAD = "ZX"  # a zombie, dead
NAME_LENGTH = 15  # what the kernel keeps of it


@dataclass(frozen=True)
class Step:
    """One step's process; of several instances each is one."""

    model: str
    pid: int

    @property
    def lives(self) -> bool:
        """Whether it runs, or is stopped: a step that hangs lives."""
        return _name_and_state(self.pid)[1] not in DEAD


def find_steps(pid: int) -> list[Step]:
    """The steps of the tritonserver whose process is `pid`; once it is ready, these are all it will have."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            for child in map(int, (task / "children").read_text().split()):
                if _name_and_state(child)[0] == STUB[:NAME_LENGTH]:
                    found.append(Step(_model(child), child))
    return found


def _model(pid: int) -> str:
    """The stub's first argument is MODEL/VERSION/model.py; one that has died already has none."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return Path(words[1].decode()).parent.parent.name if len(words) > 1 else "a step"


def _name_and_state(pid: int) -> tuple[str, str]:
    """Of a process, by proc(5); one that is gone has no name and is dead."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "", DEAD
    name, _, rest = status.partition("(")[2].rpartition(")")
    return name, rest.split()[0]
