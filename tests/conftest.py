# SPDX-License-Identifier: Apache-2.0
"""What the tests share: the demo engine, built once a run, and one real tritonserver that serves it."""

from pathlib import Path

import pytest

from build_scripts.tritonserver import free_ports, running
from tests.build_environment import build_engine


def pytest_configure(config):
    # tritonclient leaves its channels to the garbage collector.
    config.addinivalue_line("filterwarnings", "ignore:unclosed:ResourceWarning")


@pytest.fixture(scope="session")
def demo_engine(tmp_path_factory) -> Path:
    """An engine directory of models/demo, INT8."""
    return build_engine(tmp_path_factory.mktemp("engines") / "demo", "int8")


@pytest.fixture(scope="session")
def server(demo_engine, tmp_path_factory):
    """The real tritonserver with the repository as it is committed."""
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("wb") as file, running(demo_engine, free_ports(), file) as server:
        server.wait_ready()
        server.log = log
        yield server
    assert server.process.returncode == 0, log.read_text()[-3000:]
