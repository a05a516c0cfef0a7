# SPDX-License-Identifier: Apache-2.0
"""Serve an engine directory in the foreground until SIGINT or SIGTERM; then drain and exit with 0.

python -m serving.serve --engine-dir engines/opt-125m --http-port 8000

Exit statuses: 0 stopped by a signal, 1 cannot start, 3 served and then failed (docs/running.md).
"""

from __future__ import annotations

import signal
import sys
import threading

CANNOT_START, FAILED = 1, 3


def main() -> int:
    """Read the command line and serve; return the exit status."""
    stop = _stop_on_signals()
    # Imported after the handlers are set, since imports take half a second in which Ctrl-C must work, too.
    from serving import supervisor
    from serving.errors import PreflightError, ServingFailed, TritonError
    from serving.preflight.checks import parse, ports_of

    arguments = parse("Serve an engine directory on the real tritonserver.")
    try:
        supervisor.serve(arguments.engine_dir, ports_of(arguments), stop)
    except (PreflightError, TritonError) as error:
        sys.stderr.write(f"serve: {error}\n")
        return FAILED if isinstance(error, ServingFailed) else CANNOT_START
    sys.stderr.write("serve: stopped\n")
    return 0


def _stop_on_signals() -> threading.Event:
    """Return an event that SIGINT and SIGTERM set."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


if __name__ == "__main__":
    sys.exit(main())
