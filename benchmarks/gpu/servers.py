# SPDX-License-Identifier: Apache-2.0
"""The servers of the table as processes: this project's `serve`, and `vllm serve`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench.cpu import family
from llm_ensemble.engines.vllm.api import DTYPES
from llm_ensemble.manifest import ENGINE, TOKENIZER, read_manifest
from serving.tritonserver import ROOT, free_ports

START_SECONDS = 280
STOP_SECONDS = 60


@dataclass(frozen=True)
class Started:
    """A server that is ready. url: as bench takes it. seconds: from its start until then."""

    url: str
    pid: int
    seconds: float


@contextlib.contextmanager
def ours(engine_dir: Path, log: Path, **environ: str) -> Iterator[Started]:
    """Provide this project's server. environ: settings. Raise RuntimeError if it does not start."""
    ports = free_ports()
    python = os.environ.get("SERVING_PYTHON", sys.executable)
    command = [
        *(python, "-m", "serving.serve", "--engine-dir", str(engine_dir), "--http-port", str(ports.http)),
        *("--grpc-port", str(ports.grpc), "--metrics-port", str(ports.metrics), "--openai-port", "0"),
    ]
    settings = {"MAX_WAITING": "1024", "PREFIX_CACHE": "0", **environ}
    with _process(command, log, f"{ports.http_url}/v2/health/ready", settings) as (pid, seconds):
        yield Started(f"grpc://{ports.grpc_netloc}", pid, seconds)


@contextlib.contextmanager
def vllm_serve(
    engine_dir: Path, log: Path, fraction: float, options: Sequence[str] = (), **environ: str
) -> Iterator[Started]:
    """Provide `vllm serve` for the same checkpoint and limits. Raise RuntimeError if it does not start.

    fraction: of the GPU's memory. options: further words of its command line.
    """
    port = free_ports().http
    command = [*vllm_command(engine_dir, fraction), "--port", str(port), *options]
    with _process(command, log, f"http://127.0.0.1:{port}/health", environ) as (pid, seconds):
        yield Started(f"openai://127.0.0.1:{port}", pid, seconds)


def vllm_command(engine_dir: Path, fraction: float) -> list[str]:
    """Return the command line: what the engine stage gives vLLM too, and no log of each request."""
    manifest = read_manifest(engine_dir)
    limits = manifest.limits
    python = os.environ.get("ENGINE_PYTHON", sys.executable)
    weights = [] if any((engine_dir / ENGINE).glob("*.safetensors")) else ["--load-format", "dummy"]
    return [
        *(
            python,
            "-m",
            "vllm.entrypoints.cli.main",
            "serve",
            str(engine_dir / ENGINE),
            "--host",
            "127.0.0.1",
        ),
        *("--tokenizer", str(engine_dir / TOKENIZER), "--served-model-name", "model"),
        *("--dtype", DTYPES[manifest.precision], "--max-model-len", str(limits.max_seq_len)),
        *("--max-num-seqs", str(limits.max_batch_size)),
        *("--max-num-batched-tokens", str(limits.max_num_tokens)),
        *("--gpu-memory-utilization", str(fraction), "--no-enable-prefix-caching"),
        *("--tensor-parallel-size", str(manifest.tensor_parallel), "--generation-config", "vllm"),
        *("--disable-log-stats", "--disable-uvicorn-access-log", *weights),
    ]


@contextlib.contextmanager
def _process(
    command: list[str], log: Path, health: str, environ: dict[str, str]
) -> Iterator[tuple[int, float]]:
    """Start a process, wait until it is healthy, end it and all that it started."""
    began = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environ},
            start_new_session=True,
        )
    try:
        while not _is_healthy(health):
            if process.poll() is not None or time.monotonic() - began > START_SECONDS:
                raise RuntimeError(f"{' '.join(command[:4])} did not start: {log}")
            time.sleep(0.25)
        yield process.pid, time.monotonic() - began
    finally:
        _end(process)


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it in order; kill what is left of it."""
    pids = family(process.pid)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    for pid in reversed(pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
