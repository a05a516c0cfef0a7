# SPDX-License-Identifier: Apache-2.0
"""Room on tritonserver's stacks, so that no request of a usual size can overflow one.

tritonserver 2.51.0 reads JSON by recursion, about 80 bytes of stack a bracket, and keeps 16 bytes of it for
each piece of a chunked body; it has an option against neither. With the usual 8 MB of Linux a body of 150,000
brackets, or of 600,000 pieces, ends it by a segmentation fault (both seen).
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

STACK_BYTES = 1 << 30  # of each thread; address space alone: what is not used takes no memory
OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
NEVER = "2"  # there address space is accounted as if it were used
RAISE = (
    "import os, resource, sys; soft, hard = resource.getrlimit(resource.RLIMIT_STACK); "
    "want = int(sys.argv[1]) if hard == resource.RLIM_INFINITY else min(int(sys.argv[1]), hard); "
    "resource.setrlimit(resource.RLIMIT_STACK, (want, hard)); os.execv(sys.argv[2], sys.argv[2:])"
)


def with_room() -> tuple[str, ...]:
    """What to put before a command line for it to run with such stacks; nothing where they would cost memory.

    glibc gives every thread the stack limit that its process began with.
    """
    bounded = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    if bounded or OVERCOMMIT.read_text().strip() == NEVER:
        return ()
    return (sys.executable, "-Sc", RAISE, str(STACK_BYTES))
