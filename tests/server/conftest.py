# SPDX-License-Identifier: Apache-2.0
"""Servers whose stages are the committed ones with taps on them (tap.py)."""

import contextlib
import json
import shutil
import time

import msgspec
import pytest

from llm_ensemble.manifest import read_manifest, tokenizer_sha256, write_manifest
from llm_ensemble.preprocessing.preprocessor import load_tokenizer
from serving.tritonserver import MODEL_REPOSITORY, free_ports, running
from tests.waiting import SECONDS

MODEL = "from tests.server.tap import tapped\n\nTritonPythonModel = tapped({name!r})\n"
TAPPED = ("tensorrt_llm", "postprocessing", "ensemble_unary")
STEP_SECONDS = 0.02  # of the slow server
FREE_SECONDS = 1.5  # from a client's leaving until its slots are free, on an idle machine
FREE_STEPS = int(2 * FREE_SECONDS / STEP_SECONDS)  # twice that, for a busy one


class Tapped:
    """A tapped server, the tokens of its engine and the state of its stages."""

    def __init__(self, server, engine_dir, folder, log):
        self.server, self.engine_dir, self._folder, self._log = server, engine_dir, folder, log
        self.tokenizer = load_tokenizer(engine_dir)

    @property
    def log(self):
        return self._log.read_text()

    def parts(self, request_id):
        """Return what the engine stage has sent for a request so far."""
        return [part for chunk in self._chunks(request_id) for part in chunk["parts"]]

    def sequences(self, request_id):
        """Return the token ids that the engine generated, a list for each of a request's sequences."""
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
        """Sequences running and waiting in the engine, and open requests by stage, of a moment ago."""
        read = {name: self._read(name) for name in TAPPED}
        engine = read["tensorrt_llm"]
        opens = {name: state["open"] for name, state in read.items()}
        return {"running": engine["running"], "waiting": engine["waiting"], **opens}

    @property
    def steps(self):
        """How many steps the engine has begun; None if nothing taps them."""
        return self._read("tensorrt_llm")["steps"]

    def _read(self, name):
        return json.loads((self._folder / f"{name}.json").read_text())

    def is_empty(self):
        """Return whether no stage has an open request."""
        return not any(self.state.values())

    def wait(self, condition, seconds=SECONDS):
        """Wait until a condition holds; return the seconds that took. Fail after `seconds`."""
        started = time.monotonic()
        while not condition():
            assert time.monotonic() - started < seconds, f"still not so: {self.state}"
            time.sleep(0.01)
        return time.monotonic() - started

    def wait_freed(self, steps, condition=None):
        """Wait until a condition holds, by default that no request is open; fail after so many steps.

        A step takes as long as it is set to, or longer on a busy machine, where all else takes longer, too.
        """
        before = self.steps
        seconds = self.wait(condition or self.is_empty)
        if before is None:  # vLLM's, in a process of its own
            assert seconds < FREE_SECONDS
        else:
            assert self.steps - before <= steps


def lay_tapped(folder):
    """Write the model repository with tapped stages to a folder, which TAP_FOLDER must name."""
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
def exact(demo_engine, tmp_path_factory):
    """A tapped server with the demo engine, whichever engine kind a module serves."""
    with tapped_server(demo_engine, tmp_path_factory.mktemp("exact")) as exact:
        yield exact


def with_limits(engine_dir, copy, **limits):
    """Copy an engine directory with other limits, in every file that has them; return the copy."""
    shutil.copytree(engine_dir, copy)
    for file, key in (("manifest.json", "limits"), ("engine/config.json", "build_config")):
        content = json.loads((copy / file).read_text())
        if key in content:
            content[key].update(limits)
            (copy / file).write_text(json.dumps(content))
    return copy


def with_chat_template(engine_dir, copy, template):
    """Copy an engine directory with a chat template; return the copy."""
    shutil.copytree(engine_dir, copy)
    (copy / "tokenizer/chat_template.jinja").write_text(template)
    manifest = msgspec.structs.replace(read_manifest(copy), tokenizer_sha256=tokenizer_sha256(copy))
    write_manifest(copy, manifest)
    return copy


@pytest.fixture(scope="session")
def tight(served_engine, tmp_path_factory):
    """An engine that runs 4 sequences and prefills 16 tokens a step."""
    copy = tmp_path_factory.mktemp("tight") / "engine"
    return with_limits(served_engine, copy, max_batch_size=4, max_num_tokens=16)


@pytest.fixture(scope="session")
def slow(tight, tmp_path_factory):
    """A tapped server where 4 sequences run, 4 wait, and a step takes 20 ms."""
    settings = {"MAX_WAITING": 4, "TAP_STEP_SECONDS": STEP_SECONDS}
    with tapped_server(tight, tmp_path_factory.mktemp("slow"), **settings) as slow:
        yield slow


@pytest.fixture
def quiet(slow):
    """The slow server without open requests, before and after the test."""
    slow.wait(slow.is_empty)
    yield slow
    slow.wait(slow.is_empty)
