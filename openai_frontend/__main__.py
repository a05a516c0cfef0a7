# SPDX-License-Identifier: Apache-2.0
"""Serve OpenAI's API for a tritonserver. `serve` starts it; by hand:

python -m openai_frontend --engine-dir engines/opt-125m --grpc 127.0.0.1:8001 --port 9000

Exit statuses: 0 stopped by a signal, 1 cannot start, 4 stopped before all requests had ended.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import sys
from pathlib import Path

CANNOT_START, CUT = 1, 4
LONGEST_SECONDS = 2**31 / 1000  # for the client to wait: a request's own deadline ends it
# Without this a response passes through more of gRPC's own threads, and costs more CPU (docs/performance.md).
GRPC_EXPERIMENTS = "-event_engine_client"
OUT_OF_MEMORY_SCORE = "500"  # of -1000 to 1000: the kernel ends this process before tritonserver


def main() -> int:
    """Serve until a signal; return the exit status."""
    arguments = _parse()
    os.environ.setdefault("GRPC_EXPERIMENTS", GRPC_EXPERIMENTS)  # before grpc is imported
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OUT_OF_MEMORY_SCORE)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s openai: %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # its warnings are about what clients send
    from llm_ensemble.errors import EngineDirectoryError, SettingError

    try:
        return _serve(arguments)
    except (EngineDirectoryError, SettingError) as error:
        problem = str(error)
    except OSError as error:  # of the port
        problem = f"port {arguments.port} of {arguments.host} cannot be used ({error.strerror})"
    sys.stderr.write(f"openai: {problem}\n")
    return CANNOT_START


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serve OpenAI's API for a tritonserver.")
    parser.add_argument("--engine-dir", type=Path, required=True, help="what tritonserver serves")
    parser.add_argument("--grpc", required=True, help="host:port of tritonserver's gRPC")
    parser.add_argument(
        "--metrics", help="host:port of tritonserver's metrics, for the load that the page shows"
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on, or :: for all")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--drain-seconds", type=int, default=30, help="what requests have to end at a signal")
    return parser.parse_args()


def _serve(arguments: argparse.Namespace) -> int:
    """Put the parts together and run them. Raise EngineDirectoryError, SettingError or OSError."""
    from llm_ensemble.lora.adapters import read_adapters
    from llm_ensemble.settings import read, read_settings
    from llm_ensemble_client import AsyncClient
    from openai_frontend import server
    from openai_frontend.app import create_app
    from openai_frontend.assemble import assemble
    from openai_frontend.served_model import ServedModel
    from openai_frontend.settings import FrontendSettings

    settings = read(FrontendSettings, os.environ)
    sockets = server.listening_sockets(arguments.host, arguments.port, server.limits_of(settings))
    server.raise_file_limit()
    common = read_settings()
    adapters = read_adapters(common.lora_dir, common.max_loras)
    model = ServedModel.read(
        arguments.engine_dir,
        settings.openai_model_name,
        settings.tool_parser,
        settings.reasoning_parser,
        adapters,
    )
    client = AsyncClient(f"grpc://{arguments.grpc}", timeout=LONGEST_SECONDS, retries=False)
    api = create_app(model, client, f"http://{arguments.metrics}/metrics" if arguments.metrics else None)
    assembled = assemble(
        api,
        [path for route in api.routes if "{" not in (path := getattr(route, "path", "{"))],
        settings,
        drain_seconds=arguments.drain_seconds,
        log_format=common.log_format,
    )
    gc.collect()
    gc.freeze()  # what is imported by now stays: no collection needs to look at it
    server.run(assembled.server, sockets)
    return CUT if assembled.observed.cut else 0


if __name__ == "__main__":
    sys.exit(main())
