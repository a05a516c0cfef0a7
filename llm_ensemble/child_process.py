# SPDX-License-Identifier: Apache-2.0
"""Child processes that do not outlive their parent."""

from __future__ import annotations

import sys

# Prefix of a command line: if this process is killed, the kernel ends the child too, by SIGTERM.
# prctl(PR_SET_PDEATHSIG, SIGTERM), then exec. Not subprocess's preexec_fn, which is unsafe, and warns, in a
# process with threads.
END_WITH_PARENT = (
    sys.executable,
    "-Sc",
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.argv[1], sys.argv[1:])",
)
