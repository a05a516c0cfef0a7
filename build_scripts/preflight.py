# SPDX-License-Identifier: Apache-2.0
"""What would otherwise fail obscurely, found before Triton starts: one line each that says what to do.

python -m build_scripts.preflight --engine-dir engines/opt-125m
"""

from __future__ import annotations

import argparse
import errno
import importlib.metadata
import importlib.util
import os
import socket
import sys
from pathlib import Path

from build_scripts.engine_files import missing_file
from build_scripts.installation import TritonError, find_installation
from build_scripts.preflight_error import PreflightError
from build_scripts.preflight_gpu import check_for_gpus
from build_scripts.preflight_space import check_space
from build_scripts.tritonserver import Ports
from build_scripts.trtllm import IMAGE
from llm_ensemble.chat import load_chat_template
from llm_ensemble.errors import EngineDirectoryError, SettingError
from llm_ensemble.manifest import TOKENIZER, Manifest, read_manifest, tokenizer_sha256
from llm_ensemble.settings import (
    read_gpu_settings,
    read_pace_settings,
    read_settings,
    refuse_gpu_settings,
    refuse_pace_settings,
)

# What each engine is imported as, and where one gets it.
ENGINE_LIBRARY = {
    "openvino": ("openvino_genai", "run make .venv"),
    "tensorrt_llm": ("tensorrt_llm", f"serve it in {IMAGE}"),
    "pace": ("llm_ensemble", "run make .venv"),  # our own, for benchmarks
}


def preflight(engine_dir: Path, ports: Ports) -> Manifest:
    """Check everything; the engine's manifest. Raises PreflightError with the first problem."""
    try:
        read_settings()
        installation = find_installation()
        manifest = read_manifest(engine_dir)
        _check_engine_dir(engine_dir, manifest)
        if manifest.engine == "pace":
            read_pace_settings()
        else:
            refuse_pace_settings()
        if manifest.engine != "tensorrt_llm":
            refuse_gpu_settings()
        else:
            check_for_gpus(engine_dir, manifest, os.environ)
    except (EngineDirectoryError, SettingError, TritonError) as error:
        raise PreflightError(str(error)) from error
    if installation.libraries:  # the wheel's; NVIDIA's image has a Python backend that fits its numpy
        _check_numpy()
    check_space(read_gpu_settings().instances, manifest.tensor_parallel)
    _check_ports(ports)
    return manifest


def _check_engine_dir(engine_dir: Path, manifest: Manifest) -> None:
    if manifest.engine not in ENGINE_LIBRARY:
        served = " and ".join(("openvino", "tensorrt_llm"))
        raise PreflightError(f"{engine_dir} is for engine {manifest.engine!r}; this version serves {served}")
    library, advice = ENGINE_LIBRARY[manifest.engine]
    if importlib.util.find_spec(library) is None:
        raise PreflightError(f"{library} is not installed for {sys.executable}: {advice}")
    missing = missing_file(engine_dir, manifest.engine, manifest.backend, manifest.tensor_parallel)
    if missing:
        raise PreflightError(f"{engine_dir} has no {missing}: build the engine again")
    if tokenizer_sha256(engine_dir) != manifest.tokenizer_sha256:
        raise PreflightError(
            f"{engine_dir}/{TOKENIZER} is not the tokenizer the engine was built with: "
            "restore it, or build the engine again"
        )
    load_chat_template(engine_dir)


def _check_numpy() -> None:
    version = importlib.metadata.version("numpy")
    if int(version.split(".")[0]) >= 2:
        raise PreflightError(
            f"numpy {version} makes Triton's Python backend crash on strings: pip install 'numpy<2'"
        )


def _check_ports(ports: Ports) -> None:
    wanted = {"HTTP_PORT": ports.http, "GRPC_PORT": ports.grpc, "METRICS_PORT": ports.metrics}
    if len(set(wanted.values())) < len(wanted):
        raise PreflightError(f"HTTP_PORT, GRPC_PORT and METRICS_PORT must differ, got {[*wanted.values()]}")
    for name, port in wanted.items():
        _check_port(name, ports.host, port)


def _check_port(name: str, host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OverflowError as error:
            raise PreflightError(f"{name}={port} is no port number: use 1 to 65535") from error
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            reason = "is taken" if taken else f"cannot be used on {host} ({error.strerror})"
            raise PreflightError(f"port {port} {reason}: choose another with {name}=...") from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that say what is served and where; shared with serve."""
    parser.add_argument("--engine-dir", type=Path, required=True, help="what make build made")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine only)"
    )
    parser.add_argument("--http-port", type=int, default=8000)
    parser.add_argument("--grpc-port", type=int, default=8001)
    parser.add_argument("--metrics-port", type=int, default=8002)


def ports_of(arguments: argparse.Namespace) -> Ports:
    """The ports that the arguments name."""
    return Ports(arguments.http_port, arguments.grpc_port, arguments.metrics_port, arguments.host)


def main() -> int:
    """Check and say what was found."""
    parser = argparse.ArgumentParser(description="Check that an engine directory can be served here.")
    add_arguments(parser)
    arguments = parser.parse_args()
    try:
        manifest = preflight(arguments.engine_dir, ports_of(arguments))
    except PreflightError as error:
        sys.stderr.write(f"preflight: {error}\n")
        return 1
    sys.stdout.write(f"{arguments.engine_dir}: {manifest.model.name} ({manifest.precision}) can be served\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
