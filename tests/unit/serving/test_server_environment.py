# SPDX-License-Identifier: Apache-2.0
"""What is added to tritonserver's environment, and what stub.sh removes again for the stubs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llm_ensemble.engines.kinds import package_folders
from serving.installation import Installation, find_installation
from serving.plain_paths import is_plain
from serving.server_environment import (
    ALLOCATOR_VARIABLES,
    GPUS,
    STUBS_GPUS,
    TRITONSERVER_ONLY,
    allocator_settings,
    environment,
    lay_backend,
    lay_stub,
    tritonserver_only,
)
from tests.odd_paths import odd

STUB = f"""#!{sys.executable}
import json, os, sys
print(json.dumps([sys.argv, dict(os.environ), os.getpid()]))
"""


@pytest.fixture
def stub_path(tmp_path):
    """stub.sh as the Python backend's stub, and STUB in the real one's place."""
    stub = tmp_path / "the stub" / "triton_python_backend_stub"
    stub.parent.mkdir()
    stub.write_text(STUB)
    stub.chmod(0o755)
    folder = tmp_path / "python"
    folder.mkdir()
    lay_stub(stub, folder)
    return folder / stub.name


def start(stub, *words, **environ):
    """Return its arguments, its environment, its process id, and that of the process that was started."""
    process = subprocess.Popen([stub, *words], env=environ, stdout=subprocess.PIPE)
    out, _ = process.communicate(timeout=60)
    return [*json.loads(out), process.pid]


def test_tritonserver_keeps_no_blocks_for_each_thread_and_an_arena_for_each_core():
    settings = allocator_settings({"HOME": "/tmp"})
    assert settings["GLIBC_TUNABLES"] == "glibc.malloc.tcache_count=0"
    assert settings["MALLOC_ARENA_MAX"] == str(len(os.sched_getaffinity(0)))


@pytest.mark.parametrize("name", ALLOCATOR_VARIABLES)
def test_nothing_is_added_to_an_operator_s_own_choice(name):
    assert allocator_settings({name: "1"}) == {}
    assert allocator_settings({name: ""}) == allocator_settings({}) != {}


def test_the_stubs_get_the_environment_without_the_allocator_s_settings(stub_path):
    given = {"HOME": "/a b", "LD_LIBRARY_PATH": "/x:/y", "PATH": "/usr/bin:/bin"}
    _, environ, _, _ = start(stub_path, **given, **tritonserver_only(given))
    assert {name: environ[name] for name in given} == given
    assert not {*ALLOCATOR_VARIABLES, GPUS, STUBS_GPUS, TRITONSERVER_ONLY} & set(environ)


def test_the_stubs_get_what_an_operator_set(stub_path):
    given = {"MALLOC_ARENA_MAX": "3", "PATH": "/usr/bin:/bin"}
    _, environ, _, _ = start(stub_path, **given, **tritonserver_only(given))
    assert environ["MALLOC_ARENA_MAX"] == "3"


@pytest.mark.parametrize("given", [{}, {GPUS: ""}, {GPUS: "2,GPU-1a2b"}])
def test_tritonserver_sees_no_gpu_and_its_stubs_see_those_that_were_given(stub_path, given):
    start_with = {"PATH": "/usr/bin:/bin", **given, **tritonserver_only(given)}
    assert start_with[GPUS] == ""
    _, environ, _, _ = start(stub_path, **start_with)
    assert environ.get(GPUS) == given.get(GPUS)
    assert STUBS_GPUS not in environ


@pytest.mark.parametrize("given", [{}, {GPUS: "1"}])
def test_tritonserver_sees_the_gpus_that_it_shall_measure(stub_path, given):
    start_with = {"PATH": "/usr/bin:/bin", **given, **tritonserver_only(given, gpu_metrics=True)}
    assert start_with.get(GPUS) == given.get(GPUS)
    assert start(stub_path, **start_with)[1].get(GPUS) == given.get(GPUS)


def test_stub_sh_becomes_the_stub_with_all_its_arguments(stub_path):
    words, _, own, started = start(stub_path, "models/a b/1/model.py", "", "*")
    assert words[1:] == ["models/a b/1/model.py", "", "*"]
    assert words[0].endswith(f"/{stub_path.name}"), "health.py finds stubs by this name"
    assert own == started


def test_nothing_executable_is_written_where_a_mount_may_forbid_it(stub_path):
    files = [path for path in stub_path.parent.rglob("*") if not path.is_symlink() and not path.is_dir()]
    assert files == []


def test_the_backend_directory_has_the_stub_beside_the_backend(tmp_path):
    folder = lay_backend(find_installation(), tmp_path, package_folders("benchmarks.pace"))
    names = {path.name for path in (folder / "python").iterdir()}
    assert {"libtriton_python.so", "triton_python_backend_utils.py", "triton_python_backend_stub"} <= names
    assert {"llm_ensemble", "benchmarks"} <= names


def test_every_path_in_the_environment_is_plain_and_leads_to_the_real_one(tmp_path, monkeypatch):
    odd_folder, links = tmp_path / odd("utf-8"), tmp_path / "links"
    folders = [odd_folder / name for name in ("lib0", "lib1", "prefix/bin", "engine", "small", "lora")]
    for folder in [*folders, links]:
        folder.mkdir(parents=True)
    monkeypatch.setattr(sys, "executable", str(odd_folder / "prefix/bin/python3"))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/kept")
    monkeypatch.setenv("DRAFT_ENGINE_DIR", os.path.relpath(folders[4]))
    monkeypatch.setenv("LORA_DIR", str(folders[5]))
    found = Installation(tmp_path, tmp_path, tmp_path, tuple(folders[:2]), None)
    environ = environment(found, folders[3], Path(sys.executable), links)
    *libraries, kept = environ["LD_LIBRARY_PATH"].split(":")
    given = (environ[name] for name in ("ENGINE_DIR", "DRAFT_ENGINE_DIR", "LORA_DIR"))
    paths = [Path(path) for path in (*libraries, environ["PATH"].split(":")[0], *given)]
    assert kept == "/kept"
    assert all(map(is_plain, paths))
    assert [path.resolve() for path in paths] == folders
