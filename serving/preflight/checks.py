# SPDX-License-Identifier: Apache-2.0
"""What would otherwise fail obscurely, found before Triton starts: one line each that says what to do.

python -m serving.preflight --engine-dir engines/opt-125m
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import os
import sys
from pathlib import Path

from llm_ensemble.engines.kinds import check_adapters, engine_kind, read_engine_settings
from llm_ensemble.errors import EngineDirectoryError, SettingError
from llm_ensemble.manifest import TOKENIZER, Manifest, read_manifest, tokenizer_sha256
from llm_ensemble.preprocessing.chat import load_chat_template
from llm_ensemble.settings import read, read_settings
from openai_frontend.served_model import check_names, model_names
from openai_frontend.settings import FrontendSettings
from openai_frontend.settings import check as check_frontend
from serving.engine_python import find_engine_python
from serving.errors import PreflightError, TritonError
from serving.installation import find_installation
from serving.listening import HostError, Ports, resolve
from serving.plain_paths import printable
from serving.preflight.ports import check_ports
from serving.preflight.space import check_space
from serving.settings import ServerSettings

READS_NUMPY_2 = (2, 52)  # tritonserver 24.11: its Python backend is built with pybind11 2.12


def preflight(engine_dir: Path, ports: Ports) -> Manifest:
    """Check everything; the engine's manifest. Raises PreflightError with the first problem."""
    try:
        common = read_settings()
        installation = find_installation()
        manifest = read_manifest(engine_dir)
        kind = engine_kind(manifest.engine)
        python = find_engine_python(kind, read(ServerSettings, os.environ))
        _check_engine_dir(engine_dir, manifest)
        settings = read_engine_settings(manifest.engine)
        kind.check(engine_dir, manifest, settings, python.versions)
        adapters = check_adapters(manifest, dataclasses.replace(common, engine_dir=engine_dir))
        if ports.openai:
            frontend = read(FrontendSettings, os.environ)
            check_frontend(frontend)
            check_names(model_names(manifest, frontend.openai_model_name), adapters)
    except (EngineDirectoryError, SettingError, TritonError) as error:
        raise PreflightError(str(error)) from error
    if installation.version and installation.is_before(*READS_NUMPY_2):
        _check_numpy()
    check_space(settings.instances, manifest.gpus)
    check_ports(ports)
    return manifest


def _check_engine_dir(engine_dir: Path, manifest: Manifest) -> None:
    kind = engine_kind(manifest.engine)
    missing = kind.missing_file(engine_dir, manifest.backend, manifest.tensor_parallel)
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


def parse(description: str) -> argparse.Namespace:
    """Read the command line, which says what is served and where; shared with serve."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--engine-dir", type=Path, required=True, help="what make build made")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on, IPv4 or IPv6, or a name of one (default: 127.0.0.1, this machine only)",
    )
    parser.add_argument("--http-port", type=int, default=8000)
    parser.add_argument("--grpc-port", type=int, default=8001)
    parser.add_argument("--metrics-port", type=int, default=8002)
    parser.add_argument("--openai-port", type=int, default=9000, help="OpenAI's API; 0: off (default: 9000)")
    return parser.parse_args()


def ports_of(arguments: argparse.Namespace) -> Ports:
    """Return the address and ports that the arguments name. Raises PreflightError."""
    try:
        host = resolve(arguments.host)
    except HostError as error:
        raise PreflightError(str(error)) from error
    return Ports(
        arguments.http_port, arguments.grpc_port, arguments.metrics_port, host, arguments.openai_port
    )


def main() -> int:
    """Check and say what was found."""
    arguments = parse("Check that an engine directory can be served here.")
    try:
        manifest = preflight(arguments.engine_dir, ports_of(arguments))
    except PreflightError as error:
        sys.stderr.write(f"preflight: {error}\n")
        return 1
    engine = printable(arguments.engine_dir)
    sys.stdout.write(f"{engine}: {manifest.model.name} ({manifest.precision}) can be served\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
