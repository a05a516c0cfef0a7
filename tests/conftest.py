# SPDX-License-Identifier: Apache-2.0
"""What the tests share: the demo engine, built once a run, and one real tritonserver that serves it."""

from pathlib import Path

import pytest

from build_scripts import tritonserver
from build_scripts.tritonserver import free_ports, running
from tests import fakes
from tests.build_environment import build_engine
from tests.fake_engine import fake_engine

# For modules whose tests hold for every engine; TensorRT-LLM's is the strict fake.
BOTH_ENGINES = pytest.mark.parametrize(
    "engine_kind", ["openvino", "tensorrt_llm"], indirect=True, scope="session"
)


def pytest_configure(config):
    lay_backend = tritonserver.lay_backend
    tritonserver.lay_backend = lambda *args: with_fake_tensorrt_llm(lay_backend(*args))
    # tritonclient leaves its channels to the garbage collector.
    config.addinivalue_line("filterwarnings", "ignore:unclosed:ResourceWarning")


def with_fake_tensorrt_llm(backends):
    """The stub looks for packages beside itself, but not in PYTHONPATH. Only engines for it import it."""
    (backends / "python/tensorrt_llm").symlink_to(fakes.HERE / "tensorrt_llm")
    return backends


@pytest.fixture(scope="session")
def demo_engine(tmp_path_factory) -> Path:
    """An engine directory of models/demo, INT8."""
    return build_engine(tmp_path_factory.mktemp("engines") / "demo", "int8")


@pytest.fixture(scope="session", autouse=True)
def engine_kind(request):
    """Which engine is served; OpenVINO's, where a module does not say."""
    return getattr(request, "param", "openvino")


@pytest.fixture(scope="session")
def served_engine(engine_kind, demo_engine, tmp_path_factory) -> Path:
    """The demo model for the engine in question."""
    if engine_kind == "openvino":
        return demo_engine
    return fake_engine(demo_engine, tmp_path_factory.mktemp("served") / "engine")


@pytest.fixture(scope="session")
def server(served_engine, tmp_path_factory):
    """The real tritonserver with the repository as it is committed."""
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("wb") as file, running(served_engine, free_ports(), file) as server:
        server.wait_ready()
        server.log = log
        yield server
    assert server.process.returncode == 0, log.read_text()[-3000:]
