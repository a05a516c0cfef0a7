# SPDX-License-Identifier: Apache-2.0
"""Which Python the engine stage runs in, and the refusal of one that would not do."""

import importlib.metadata
import sys
from pathlib import Path

import pytest

from llm_ensemble.engines.kinds import engine_kind
from serving import engine_python
from serving.engine_python import find_engine_python
from serving.errors import TritonError
from serving.settings import ServerSettings

VLLM = engine_kind("vllm")
HERE = f"{sys.version_info.major}, {sys.version_info.minor}"


@pytest.fixture
def another(tmp_path):
    """another(answer): the path of a Python that gives this answer when it is asked what it has."""

    def write(answer, name="python"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")
        path.chmod(0o755)
        return path

    return write


def find(path):
    return find_engine_python(VLLM, ServerSettings(engine_python=str(path)))


def test_an_engine_whose_library_is_here_runs_in_this_python():
    found = find_engine_python(engine_kind("openvino"), ServerSettings())
    assert found.path == Path(sys.executable)


def test_engine_python_is_asked_for_its_versions(another):
    path = another(f'[[{HERE}], true, {{"vllm": "0.23.0"}}]')
    assert find(path) == engine_python.EnginePython(path, {"vllm": "0.23.0"})


def test_a_real_python_says_what_it_has(tmp_path):
    """The one of this process under another name; `json` stands for the library."""
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    path.chmod(0o755)
    versions = {"numpy": importlib.metadata.version("numpy")}
    asked = ("pip-no-such-thing", "numpy")
    assert engine_python._look_in(path, "json", asked) == [[*sys.version_info[:2]], True, versions]
    assert engine_python._look_in(path, "vllm", ())[1] is False


def test_without_it_the_environment_beside_the_clone_is_taken(another, tmp_path, monkeypatch):
    path = another(f"[[{HERE}], true, {{}}]", ".venv-vllm/bin/python")
    monkeypatch.setattr(engine_python, "ROOT", tmp_path)
    assert find_engine_python(VLLM, ServerSettings()).path == path


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (f"[[{HERE}], false, {{}}]", "vllm is not installed for .*/python: run make gpu"),
        ("[[3, 8], true, {}]", "/python is Python 3.8, and serve runs on 3.*: make both environments"),
        ("hello", "ENGINE_PYTHON: .*/python cannot be run as a Python"),
    ],
)
def test_one_that_would_not_do_is_refused(another, answer, told):
    with pytest.raises(TritonError, match=told):
        find(another(answer))


def test_one_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(TritonError, match="ENGINE_PYTHON: .* cannot be run as a Python"):
        find(tmp_path / "none")
