# SPDX-License-Identifier: Apache-2.0
"""Servers whose steps are the committed ones with taps on them (tap.py)."""

import contextlib
import json
import shutil
import time

import pytest

from build_scripts.tritonserver import MODEL_REPOSITORY, free_ports, running
from llm_ensemble.prompt import load_tokenizer
from tests.build_environment import build_engine

MODEL = "from tests.server.tap import tapped\n\nTritonPythonModel = tapped({name!r})\n"
TAPPED = ("tensorrt_llm", "postprocessing", "ensemble_unary")


class Tapped:
    """A tapped server, what its engine made and what its steps remember."""

    def __init__(self, server, engine_dir, folder, log):
        self.server, self._folder, self._log = server, folder, log
        self.tokenizer = load_tokenizer(engine_dir)

    @property
    def log(self):
        return self._log.read_text()

    def parts(self, request_id):
        """What the engine sent for a request so far."""
        return [part for chunk in self._chunks(request_id) for part in chunk["parts"]]

    def sequences(self, request_id):
        """The token ids the engine made for each of a request's sequences."""
        ids = {}
        for part in self.parts(request_id):
            ids.setdefault(part["index"], []).extend(part["token_ids"])
        return [ids[index] for index in sorted(ids)]

    def _chunks(self, request_id):
        path = self._folder / "chunks"
        lines = path.read_text().splitlines() if path.exists() else []
        return [chunk for chunk in map(json.loads, lines) if chunk["id"] == request_id]

    @property
    def state(self):
        """running and waiting in the engine, and what is open in each step."""
        read = {name: json.loads((self._folder / f"{name}.json").read_text()) for name in TAPPED}
        engine = read["tensorrt_llm"]
        opens = {name: state["open"] for name, state in read.items()}
        return {"running": engine["running"], "waiting": engine["waiting"], **opens}

    def is_empty(self):
        """Whether no step remembers anything."""
        return not any(self.state.values())

    def wait(self, condition, seconds=10.0):
        """Wait until a condition holds; how long that took. Fails when it takes too long."""
        started = time.monotonic()
        while not condition():
            assert time.monotonic() - started < seconds, f"still not so: {self.state}"
            time.sleep(0.01)
        return time.monotonic() - started


def lay_tapped(folder):
    """The model repository with taps on its steps, in TAP_FOLDER."""
    repository = folder / "models"
    shutil.copytree(MODEL_REPOSITORY, repository, ignore=shutil.ignore_patterns("__pycache__"))
    for name in TAPPED:
        (repository / name / "1/model.py").write_text(MODEL.format(name=name))
    return repository


@contextlib.contextmanager
def tapped_server(engine_dir, folder, **environ):
    repository = lay_tapped(folder)
    log = folder / "log"
    with contextlib.ExitStack() as stack:
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in {"TAP_FOLDER": folder, **environ}.items():
            monkeypatch.setenv(name, str(value))
        file = stack.enter_context(log.open("wb"))
        server = stack.enter_context(running(engine_dir, free_ports(), file, repository))
        monkeypatch.undo()  # other servers start while this one runs
        server.wait_ready()
        tapped = Tapped(server, engine_dir, folder, log)
        tapped.wait(lambda: all((folder / f"{name}.json").exists() for name in TAPPED))
        yield tapped


@pytest.fixture(scope="session")
def tapped(served_engine, tmp_path_factory):
    """A tapped server at full speed."""
    with tapped_server(served_engine, tmp_path_factory.mktemp("tapped")) as tapped:
        yield tapped


@pytest.fixture(scope="session")
def exact(tmp_path_factory):
    """A tapped server with an engine of fp16 weights, which computes in f32."""
    engine = build_engine(tmp_path_factory.mktemp("engines") / "exact", "fp16")
    with tapped_server(engine, tmp_path_factory.mktemp("exact")) as exact:
        yield exact


def with_limits(engine_dir, copy, **limits):
    """A copy of an engine directory with other limits, in whatever file says them."""
    shutil.copytree(engine_dir, copy)
    for file, key in (("manifest.json", "limits"), ("engine/config.json", "build_config")):
        content = json.loads((copy / file).read_text())
        if key in content:
            content[key].update(limits)
            (copy / file).write_text(json.dumps(content))
    return copy


@pytest.fixture(scope="session")
def tight(served_engine, tmp_path_factory):
    """An engine that runs 4 sequences and reads 16 tokens of a prompt a step."""
    copy = tmp_path_factory.mktemp("tight") / "engine"
    return with_limits(served_engine, copy, max_batch_size=4, max_num_tokens=16)


@pytest.fixture(scope="session")
def slow(tight, tmp_path_factory):
    """A tapped server where 4 sequences run, 4 wait, and a step takes 20 ms."""
    settings = {"MAX_WAITING": 4, "TAP_STEP_SECONDS": 0.02}
    with tapped_server(tight, tmp_path_factory.mktemp("slow"), **settings) as slow:
        yield slow


@pytest.fixture
def quiet(slow):
    """The slow server with nothing left of the test before."""
    slow.wait(slow.is_empty)
    yield slow
    slow.wait(slow.is_empty)
