# SPDX-License-Identifier: Apache-2.0
"""The supervisor: serves an engine directory until a signal, and restarts tritonserver where that is set.

The OpenAI frontend beside it is started again whenever it dies, and lives on when tritonserver is restarted.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from llm_ensemble.settings import Settings, read, read_settings
from openai_frontend.settings import FrontendSettings
from serving.beside.frontend import Frontend
from serving.draining import drain
from serving.errors import ServingFailed, TritonError
from serving.listening import Ports
from serving.preflight.checks import preflight
from serving.server_options import DRAIN_SECONDS
from serving.tritonserver import Server, running
from serving.watchdog import Watchdog

GRACE_SECONDS = 3  # for requests that end without the stage that died; new ones are refused meanwhile
SETTLED_SECONDS = 60  # a server that fails again sooner is not restarted: it would fail for ever


def serve(engine_dir: Path, ports: Ports, stop: threading.Event) -> None:
    """Check, start, watch, and drain when `stop` is set.

    Raises PreflightError; TritonError if the server cannot start, ServingFailed if it fails once it was
    ready.
    """
    manifest = preflight(engine_dir, ports)
    has_tls = bool(ports.openai) and read(FrontendSettings, os.environ).has_tls
    with Frontend(engine_dir, ports, has_tls=has_tls) as frontend:
        Supervisor(engine_dir, ports, manifest.model.name, read_settings(), frontend, stop).run()


class Supervisor:
    """Serves one engine directory at one address, by one tritonserver after another. model: its name."""

    def __init__(
        self,
        engine_dir: Path,
        ports: Ports,
        model: str,
        settings: Settings,
        frontend: Frontend,
        stop: threading.Event,
    ) -> None:
        self.engine_dir, self.ports, self.model = engine_dir, ports, model
        self.settings, self.frontend, self.stop = settings, frontend, stop
        self._ready_at = 0.0
        self._restarts = 0

    def run(self) -> None:
        """Serve until `stop` is set. Raises TritonError when it cannot start, ServingFailed when it fails."""
        while not self.stop.is_set():
            try:
                with running(self.engine_dir, self.ports) as server:
                    self._serve(server)
                    return
            except ServingFailed as error:
                if self.stop.is_set():
                    raise
                if self.settings.on_dead == "exit":
                    raise ServingFailed(f"{error}: start serve again, or set ON_DEAD=restart") from error
                if self._restarts and time.monotonic() - self._ready_at < SETTLED_SECONDS:
                    raise ServingFailed(f"{error}, less than {SETTLED_SECONDS} s after a restart") from error
                self._restarts += 1
                sys.stderr.write(f"serve: {error}: starting tritonserver again\n")

    def _serve(self, server: Server) -> None:
        while not self.stop.wait(0.1) and not (server.ready() and not self.frontend.is_awaited()):
            self._check_process(server, TritonError)
        if self.stop.is_set():
            self._drain(server)  # it was still loading, or ready for a moment: its exit status means nothing
            return
        self._ready_at = time.monotonic()
        self._announce()
        self._watch(server)
        sys.stderr.write("serve: draining\n")
        status, all_ended = self._drain(server)
        if not all_ended:  # then tritonserver had little time left
            raise ServingFailed(f"requests of OpenAI's API had not ended after {DRAIN_SECONDS} s: cut")
        if status:
            raise ServingFailed(f"tritonserver ended with {status} instead of draining cleanly")

    def _drain(self, server: Server) -> tuple[int, bool]:
        """End the frontend, then tritonserver, whose client it is; return what each says.

        Both have the same seconds: requests to tritonserver itself are served until then.
        """
        deadline = time.monotonic() + DRAIN_SECONDS
        all_ended = self.frontend.drain(deadline)
        return drain(server, deadline), all_ended

    def _announce(self) -> None:
        ports = self.ports
        sys.stderr.write(
            f"serve: {self.model} is ready: HTTP {ports.http_url}, gRPC {ports.grpc_netloc}, "
            f"metrics {ports.metrics_url}{f', OpenAI API {url}' if (url := self.frontend.url) else ''}\n"
        )

    def _watch(self, server: Server) -> None:
        """Return when `stop` is set. Raises ServingFailed."""
        with Watchdog(server, self.settings.hang_seconds) as watchdog:
            while not self.stop.wait(0.2):
                self._check_process(server, ServingFailed)
                # A signal to the whole process group ends stages, too, and may reach this process a moment
                # later.
                if (verdict := watchdog.verdict()) and not self.stop.wait(0.3):
                    server.stop(GRACE_SECONDS)
                    raise ServingFailed(verdict)

    def _check_process(self, server: Server, error: type[TritonError]) -> None:
        self.frontend.check()
        if server.process.poll() is not None:
            raise error(f"tritonserver ended by itself with {server.process.returncode}: see its log above")
