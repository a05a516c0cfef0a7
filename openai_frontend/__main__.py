# SPDX-License-Identifier: Apache-2.0
"""Run the frontend by itself:

python -m openai_frontend --engine-dir engines/demo --grpc 127.0.0.1:8001 --port 9000
"""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn

from llm_ensemble_client import AsyncClient
from openai_frontend.app import create_app
from openai_frontend.served_model import ServedModel

LONGEST = 2**31 / 1000  # seconds; a request's own deadline ends it


def main() -> None:
    """Run it until a signal comes."""
    parser = argparse.ArgumentParser(description="Serve OpenAI's API for a tritonserver.")
    parser.add_argument("--engine-dir", type=Path, required=True)
    parser.add_argument("--grpc", required=True)
    parser.add_argument("--port", type=int, default=9000)
    given = parser.parse_args()
    client = AsyncClient(f"grpc://{given.grpc}", timeout=LONGEST, retries=False)
    app = create_app(ServedModel.read(given.engine_dir), client)
    uvicorn.run(app, port=given.port, http="httptools", loop="uvloop", access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
