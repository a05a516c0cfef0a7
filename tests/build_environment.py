# SPDX-License-Identifier: Apache-2.0
"""The environment that builds run in: it has torch, which the environment of these tests does not have."""

import os
import subprocess
from pathlib import Path

from serving.tritonserver import ROOT

HERE = ROOT / "tests/engine_build"
BUILD_PYTHON = os.environ.get("BUILD_PYTHON", str(ROOT / ".venv-build/bin/python"))


def build_engine(output: Path, precision: str, *options: str) -> Path:
    """Build an engine directory of models/demo; return it."""
    model = ("--model", "models/demo", "--output", output, "--precision", precision, *options)
    done = run_in_build_environment("-m", "build_scripts.build", *model, timeout=580)
    assert done.returncode == 0, done.stdout + done.stderr
    return output


def run_in_build_environment(*arguments, **options) -> subprocess.CompletedProcess[str]:
    """Run the build environment's Python in the repository; capture its output."""
    assert Path(BUILD_PYTHON).exists(), f"{BUILD_PYTHON} does not exist: run make test, or set BUILD_PYTHON"
    command = [BUILD_PYTHON, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, **options)
