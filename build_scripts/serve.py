# SPDX-License-Identifier: Apache-2.0
"""Serve an engine directory in the foreground until SIGINT or SIGTERM; then drain and exit 0.

python -m build_scripts.serve --engine-dir engines/opt-125m --http-port 8000
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from build_scripts.preflight import PreflightError, add_arguments, ports_of, preflight
from build_scripts.tritonserver import Server, TritonError, running


def main() -> int:
    """Check, start, say so, wait, drain. 0 after a signal, 1 when it cannot start or the server died."""
    parser = argparse.ArgumentParser(description="Serve an engine directory on the real tritonserver.")
    add_arguments(parser)
    arguments = parser.parse_args()
    stop = _stop_on_signals()
    try:
        manifest = preflight(arguments.engine_dir, ports_of(arguments))
        with running(arguments.engine_dir, ports_of(arguments)) as server:
            return _serve(server, stop, manifest.model.name)
    except (PreflightError, TritonError) as error:
        sys.stderr.write(f"serve: {error}\n")
        return 1


def _stop_on_signals() -> threading.Event:
    """An event that SIGINT and SIGTERM set; installed first, so that no moment of starting is unguarded."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _serve(server: Server, stop: threading.Event, model: str) -> int:
    waiter = threading.Thread(target=_announce, args=(server, model), daemon=True)
    waiter.start()
    while not stop.wait(0.2):
        if server.process.poll() is not None:
            raise TritonError(
                f"tritonserver ended by itself with {server.process.returncode}: see its log above"
            )
    sys.stderr.write("serve: draining\n")
    status = server.stop()
    if status:
        raise TritonError(f"tritonserver ended with {status} instead of draining cleanly")
    sys.stderr.write("serve: stopped\n")
    return 0


def _announce(server: Server, model: str) -> None:
    try:
        server.wait_ready()
    except TritonError:
        return  # the loop above tells why
    ports = server.ports
    sys.stderr.write(
        f"serve: {model} is ready: HTTP {ports.http_url}, gRPC {ports.host}:{ports.grpc}, "
        f"metrics http://{ports.host}:{ports.metrics}/metrics\n"
    )


if __name__ == "__main__":
    sys.exit(main())
