# SPDX-License-Identifier: Apache-2.0
"""Serve an engine directory in the foreground until SIGINT or SIGTERM; then drain and exit 0.

python -m build_scripts.serve --engine-dir engines/opt-125m --http-port 8000

Exit statuses: 0 stopped by a signal, 1 cannot start, 3 served and then failed (docs/running.md).
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from pathlib import Path

from build_scripts.installation import TritonError
from build_scripts.preflight import PreflightError, add_arguments, ports_of, preflight
from build_scripts.tritonserver import Ports, Server, running
from build_scripts.watchdog import Watchdog
from llm_ensemble.settings import Settings, read_settings

CANNOT_START, FAILED = 1, 3
GRACE_SECONDS = 3  # for requests that end without the step that died; meanwhile nobody new is served
SETTLED_SECONDS = 60  # a server that dies sooner again would die for ever


class Died(TritonError):
    """It served, and then something died or hung."""


def main() -> int:
    """Check, start, say so, watch, drain."""
    parser = argparse.ArgumentParser(description="Serve an engine directory on the real tritonserver.")
    add_arguments(parser)
    arguments = parser.parse_args()
    stop = _stop_on_signals()
    ports = ports_of(arguments)
    try:
        manifest = preflight(arguments.engine_dir, ports)
        serving = Serving(arguments.engine_dir, ports, manifest.model.name, read_settings(), stop)
        serving.run()
    except (PreflightError, TritonError) as error:
        sys.stderr.write(f"serve: {error}\n")
        return FAILED if isinstance(error, Died) else CANNOT_START
    sys.stderr.write("serve: stopped\n")
    return 0


def _stop_on_signals() -> threading.Event:
    """An event that SIGINT and SIGTERM set; installed first, so that no moment of starting is unguarded."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


class Serving:
    """One engine directory at one address, whatever number of tritonservers that takes."""

    def __init__(
        self, engine_dir: Path, ports: Ports, model: str, settings: Settings, stop: threading.Event
    ) -> None:
        self.engine_dir, self.ports, self.model = engine_dir, ports, model
        self.settings, self.stop = settings, stop
        self._ready_at = 0.0
        self._restarts = 0

    def run(self) -> None:
        """Until the signal. Raises TritonError when it cannot start, Died when something does."""
        while True:
            try:
                with running(self.engine_dir, self.ports) as server:
                    return self._serve(server)
            except Died as error:
                if self.stop.is_set():
                    raise
                if self.settings.on_dead == "exit":
                    raise Died(f"{error}: start serve again, or let it do so by ON_DEAD=restart") from error
                if self._restarts and time.monotonic() - self._ready_at < SETTLED_SECONDS:
                    raise Died(f"{error}, less than {SETTLED_SECONDS} s after a restart") from error
                self._restarts += 1
                sys.stderr.write(f"serve: {error}: starting tritonserver again\n")

    def _serve(self, server: Server) -> None:
        while not self.stop.wait(0.1) and not server.ready():
            self._check_alive(server, TritonError)
        if not self.stop.is_set():
            self._ready_at = time.monotonic()
            self._announce()
            self._watch(server)
        sys.stderr.write("serve: draining\n")
        status = server.stop()
        if status:
            raise Died(f"tritonserver ended with {status} instead of draining cleanly")

    def _announce(self) -> None:
        ports = self.ports
        sys.stderr.write(
            f"serve: {self.model} is ready: HTTP {ports.http_url}, gRPC {ports.host}:{ports.grpc}, "
            f"metrics http://{ports.host}:{ports.metrics}/metrics\n"
        )

    def _watch(self, server: Server) -> None:
        """Until the signal. Raises Died."""
        with Watchdog(server, self.settings.hang_seconds) as watchdog:
            while not self.stop.wait(0.2):
                self._check_alive(server, Died)
                # Who stops us may have told the steps, too, and our own signal may be a moment late.
                if (verdict := watchdog.verdict()) and not self.stop.wait(0.3):
                    server.stop(GRACE_SECONDS)
                    raise Died(verdict)

    def _check_alive(self, server: Server, error: type[TritonError]) -> None:
        if server.process.poll() is not None:
            raise error(f"tritonserver ended by itself with {server.process.returncode}: see its log above")


if __name__ == "__main__":
    sys.exit(main())
