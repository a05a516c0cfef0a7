# SPDX-License-Identifier: Apache-2.0
"""What the tests share: the demo engine, built once a run, and one real tritonserver that serves it."""

import os
import subprocess
from pathlib import Path

import pytest

from build_scripts.tritonserver import ROOT, free_ports, running


def pytest_configure(config):
    # tritonclient leaves its channels to the garbage collector.
    config.addinivalue_line("filterwarnings", "ignore:unclosed:ResourceWarning")


@pytest.fixture(scope="session")
def build_python() -> Path:
    """The build environment's interpreter: tests run in the serving one, which has no torch."""
    python = Path(os.environ.get("BUILD_PYTHON", ROOT / ".venv-build/bin/python"))
    assert python.exists(), f"{python} is not there: run make test, or set BUILD_PYTHON"
    return python


@pytest.fixture(scope="session")
def demo_engine(build_python, tmp_path_factory) -> Path:
    """An engine directory of models/demo, INT8."""
    output = tmp_path_factory.mktemp("engines") / "demo"
    command = [build_python, "-m", "build_scripts.build", "--model", "models/demo", "--output", output]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return output


@pytest.fixture(scope="session")
def server(demo_engine, tmp_path_factory):
    """The real tritonserver with the repository as it is committed."""
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("wb") as file, running(demo_engine, free_ports(), file) as server:
        server.wait_ready()
        server.log = log
        yield server
    assert server.process.returncode == 0, log.read_text()[-3000:]
