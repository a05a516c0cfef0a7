# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests: the demo engine, built once a run, and one real tritonserver that serves it."""

import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llm_ensemble.manifest import read_manifest
from serving import tritonserver
from serving.tritonserver import free_ports, running
from tests import fakes
from tests.build_environment import build_engine
from tests.fake_engine import fake_engine
from tests.lora import Lora, make_adapters
from tests.vllm_environment import ENVIRON, build_vllm_engine

# An engine directory of the demo model to test in the place of those that are built here (make gpu-test).
TESTED_ENGINE_DIR = os.environ.get("TESTED_ENGINE_DIR")
KINDS = [read_manifest(Path(TESTED_ENGINE_DIR)).engine] if TESTED_ENGINE_DIR else ["openvino", "tensorrt_llm"]
# For modules whose tests hold for every engine kind; TensorRT-LLM is the strict fake.
BOTH_ENGINES = pytest.mark.parametrize("engine_kind", KINDS, indirect=True, scope="session")

# The same with the real vLLM, in its CPU build, which takes minutes: with ALL_OF_VLLM set (make vllm-test).
ALL_OF_VLLM = os.environ.get("ALL_OF_VLLM") and not TESTED_ENGINE_DIR
EVERY_ENGINE = pytest.mark.parametrize(
    "engine_kind", ["vllm"] if ALL_OF_VLLM else KINDS, indirect=True, scope="session"
)

NO_PROMETHEUS = "no Prometheus; run monitoring/get_prometheus.sh"
NO_CHROMIUM = "no Chromium and chromedriver; apt-get install chromium chromium-driver"
# OpenVINO chooses an INT8 engine's arithmetic by the CPU's instructions, which oneDNN then refuses.
INT8_NEEDS_THE_CPU = "an INT8 engine cannot run with ONEDNN_MAX_CPU_ISA set"


def pytest_configure(config):
    # A command that a shell starts in the background ignores SIGINT, and so would the servers of the tests.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    lay_backend = tritonserver.lay_backend
    tritonserver.lay_backend = lambda *args: with_fake_tensorrt_llm(lay_backend(*args))
    find_engine_python = tritonserver.find_engine_python
    tritonserver.find_engine_python = lambda *args: among_fakes(find_engine_python, *args)
    # tritonclient does not close its channels.
    config.addinivalue_line("filterwarnings", "ignore:unclosed:ResourceWarning")


@pytest.hookimpl(optionalhook=True)  # pytest-xdist is not in every environment
def pytest_xdist_make_scheduler(config, log):
    from tests.in_parallel import ByModuleAndEngine

    return ByModuleAndEngine(config, log)


def pytest_terminal_summary(terminalreporter):
    """Say last what a skipped test needs, where that can be installed."""
    skips = terminalreporter.stats.get("skipped", ())
    for what in (NO_PROMETHEUS, NO_CHROMIUM):
        skipped = [report for report in skips if what in str(report.longrepr)]
        if skipped:
            terminalreporter.write_line(f"{len(skipped)} tests skipped: {what}")


def with_fake_tensorrt_llm(backends):
    """Stubs import packages beside themselves, not from PYTHONPATH. Only TensorRT-LLM engines import this."""
    (backends / "python/tensorrt_llm").symlink_to(fakes.HERE / "tensorrt_llm")
    (backends / "python/torch").symlink_to(fakes.BESIDE / "torch")
    return backends


def among_fakes(function, *args):
    """Call the function, which looks for a stage's library in this process."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "path", [*sys.path, str(fakes.HERE)])
        return function(*args)


@pytest.fixture(scope="session")
def made_once(request, tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Return a folder that is costly to make and only read.

    The first of the run's processes to ask for a name makes it, the others wait for that.
    """
    own = tmp_path_factory.getbasetemp()
    # pytest-xdist gives each of its processes a folder of its own, side by side.
    common = own.parent if hasattr(request.config, "workerinput") else own

    def made_once(name, make):
        folder = common / f"once-{name}" / name
        folder.parent.mkdir(exist_ok=True)
        with (folder.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder.parent / "made").exists():
                make(folder)
                (folder.parent / "made").touch()
        return folder

    return made_once


@pytest.fixture(scope="session")
def demo_engine(made_once) -> Path:
    """An engine directory of models/demo, fp16, computing in f32: texts can be compared (docs/testing.md)."""
    if TESTED_ENGINE_DIR:
        return Path(TESTED_ENGINE_DIR)
    return made_once("demo", lambda folder: build_engine(folder, "fp16"))


@pytest.fixture(scope="session")
def int8_engine(made_once) -> Path:
    """An engine directory of models/demo as `make build` makes it, INT8: texts cannot be compared."""
    if os.environ.get("ONEDNN_MAX_CPU_ISA"):
        pytest.skip(INT8_NEEDS_THE_CPU)
    return made_once("int8", lambda folder: build_engine(folder, "int8"))


@pytest.fixture(scope="session")
def lora(made_once) -> Lora:
    """LoRA adapters of the demo model, and what transformers with PEFT generates with them."""
    if folder := os.environ.get("TESTED_LORA"):
        return Lora(Path(folder))
    return Lora(made_once("lora", make_adapters))


@pytest.fixture(scope="session", autouse=True)
def engine_kind(request):
    """The engine kind that is served: openvino or TESTED_ENGINE_DIR's, unless a module says otherwise."""
    return getattr(request, "param", KINDS[0])


@pytest.fixture(scope="session")
def vllm_engine(made_once) -> Path:
    """An engine directory of models/demo for vLLM, in f32."""
    return made_once("vllm", build_vllm_engine)


@pytest.fixture(scope="session")
def served_engine(engine_kind, demo_engine, tmp_path_factory, request) -> Iterator[Path]:
    """An engine directory of the demo model for the engine kind, and the environment it is served in."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        if TESTED_ENGINE_DIR or engine_kind == "openvino":
            yield demo_engine
        elif engine_kind == "vllm":
            for name, value in ENVIRON.items():
                monkeypatch.setenv(name, value)
            yield request.getfixturevalue("vllm_engine")
        else:
            yield fake_engine(demo_engine, tmp_path_factory.mktemp("served") / "engine")


@pytest.fixture(scope="session")
def server(served_engine, tmp_path_factory):
    """The real tritonserver with the committed model repository."""
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("wb") as file, running(served_engine, free_ports(), file) as server:
        server.wait_ready()
        server.log = log
        yield server
    assert server.process.returncode == 0, log.read_text()[-3000:]
    # A library that vLLM imports reports the signal by which a stage ends; tritonserver takes no notice.
    assert "Segfault" not in log.read_text()
