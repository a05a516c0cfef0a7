# SPDX-License-Identifier: Apache-2.0
"""Run the frontend by itself: python -m openai_frontend ENGINE_DIR GRPC_URL PORT."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn

from llm_ensemble_client import AsyncClient
from openai_frontend.app import create_app
from openai_frontend.served_model import ServedModel

LONGEST = 2**31 / 1000  # seconds; a request's own deadline ends it


def main() -> None:
    """Run it until a signal comes."""
    engine_dir, url, port = sys.argv[1:]
    client = AsyncClient(url, timeout=LONGEST, retries=False)
    app = create_app(ServedModel.read(Path(engine_dir)), client)
    uvicorn.run(app, port=int(port), http="httptools", loop="uvloop", access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
