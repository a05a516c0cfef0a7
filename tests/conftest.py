# SPDX-License-Identifier: Apache-2.0
"""What the tests share: the demo engine, built once a run, and one real tritonserver that serves it."""

from pathlib import Path

import pytest

from build_scripts.tritonserver import free_ports, running
from tests.build_environment import run_in_build_environment


def pytest_configure(config):
    # tritonclient leaves its channels to the garbage collector.
    config.addinivalue_line("filterwarnings", "ignore:unclosed:ResourceWarning")


@pytest.fixture(scope="session")
def demo_engine(tmp_path_factory) -> Path:
    """An engine directory of models/demo, INT8."""
    output = tmp_path_factory.mktemp("engines") / "demo"
    model = ("--model", "models/demo", "--output", output)
    done = run_in_build_environment("-m", "build_scripts.build", *model, timeout=300)
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
