# SPDX-License-Identifier: Apache-2.0
"""Where builds run: an environment of their own, with torch, which the serving one of these tests has not."""

import os
import subprocess
from pathlib import Path

from build_scripts.tritonserver import ROOT

HERE = ROOT / "tests/engine_build"
BUILD_PYTHON = os.environ.get("BUILD_PYTHON", str(ROOT / ".venv-build/bin/python"))


def build_engine(output: Path, precision: str) -> Path:
    """Build an engine directory of models/demo; returns it."""
    model = ("--model", "models/demo", "--output", output, "--precision", precision)
    done = run_in_build_environment("-m", "build_scripts.build", *model, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return output


def run_in_build_environment(*arguments, **options) -> subprocess.CompletedProcess[str]:
    """Run the build environment's Python in the repository, all output captured."""
    assert Path(BUILD_PYTHON).exists(), f"{BUILD_PYTHON} is not there: run make test, or set BUILD_PYTHON"
    command = [BUILD_PYTHON, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, **options)
