# SPDX-License-Identifier: Apache-2.0
"""Folders with names that most programs misread: the clone, the engine directory, TMPDIR and HOME."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from serving.plain_paths import SHARED_MEMORY
from serving.tritonserver import ROOT, free_ports
from tests.asking import generate
from tests.odd_paths import ODD_NAMES, odd
from tests.processes import descendants
from tests.server.serving import is_healthy, serve_command, served
from tests.waiting import wait_for

FOLDERS = ("build_scripts", "client", "llm_ensemble", "model_repository", "openai_frontend", "serving")
INSTALLED = {"llm_ensemble": "llm_ensemble", "llm_ensemble_client": "client/llm_ensemble_client"}


@pytest.mark.parametrize("kind", ODD_NAMES)
def test_an_engine_a_temporary_folder_and_a_home_with_any_name_are_served(demo_engine, tmp_path, kind):
    folder = tmp_path / odd(kind)
    engine = shutil.copytree(demo_engine, folder / odd(kind))
    environ = {name: str(folder) for name in ("TMPDIR", "HOME", "XDG_CACHE_HOME", "ANY_OTHER")}
    ports = free_ports(openai=True)
    with served(engine, tmp_path / "log", ports, **environ) as server:
        assert generate(server, "The server", max_tokens=4)["num_output_tokens"] == 4
        wait_for(lambda: is_healthy(ports))
        server.process.terminate()
        assert server.process.wait(60) == 0
    assert not [name for name in os.listdir(folder) if name.startswith("llm-ensemble-")]


def test_where_the_temporary_folder_is_not_plain_shared_memory_is_used_and_left_empty(demo_engine, tmp_path):
    (tmp_path / "a b").mkdir()
    with served(demo_engine, tmp_path / "log", TMPDIR=tmp_path / "a b") as server:
        processes = descendants(server.process.pid)
        (stub, *_) = {process.command.split()[0] for process in processes if "_stub " in process.command}
        folder = Path(stub).parents[2]  # FOLDER/python/real/STUB
        assert folder.parent == SHARED_MEMORY
        assert len(list(SHARED_MEMORY.glob(f"{folder.name}*"))) == 5  # the folder, a region for each stage
        server.process.terminate()
        assert server.process.wait(60) == 0
    assert not list(SHARED_MEMORY.glob(f"{folder.name}*"))


def make_clone(clone):
    """Copy what serving needs, install it as `pip install -e` does, return the Python of its environment."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([base, "-m", "venv", "--without-pip", str(clone / ".venv")], check=True)
    (site,) = (clone / ".venv/lib").glob("python3*/site-packages")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "__editable__" not in path.name:
            (site / path.name).symlink_to(path)
    code = FINDER.format(folders={name: str(clone / folder) for name, folder in INSTALLED.items()})
    (site / "finder.py").write_text(code, encoding="utf-8")
    (site / "finder.pth").write_text("import finder\n")
    return clone / ".venv/bin/python"


# What setuptools writes for an editable installation, in short.
FINDER = """import importlib.util, os, sys


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in FOLDERS:
            return importlib.util.spec_from_file_location(name, os.path.join(FOLDERS[name], "__init__.py"))


FOLDERS = {folders!r}
sys.meta_path.append(Finder)
"""


def test_a_clone_with_any_name_that_an_environment_may_have_serves(demo_engine, tmp_path):
    clone, imported = tmp_path / odd("utf-8").replace(":", "").replace("\n", ""), tmp_path / "imported"
    python = make_clone(clone)
    with (clone / "llm_ensemble/__init__.py").open("a") as file:
        file.write(f"\nopen({str(imported)!r}, 'a').write('yes ')\n")

    def command(engine_dir, ports):
        """Start in another folder, as systemd may: the stages find the code by its installation alone."""
        script = 'cd "$1" && export PYTHONPATH="$2" && shift 2 && exec "$@"'
        _, *words = serve_command(engine_dir, ports)
        return ["sh", "-c", script, "sh", str(tmp_path), str(clone), str(python), *words]

    with served(demo_engine, tmp_path / "log", command=command) as server:
        assert generate(server, "The server", max_tokens=4)["num_output_tokens"] == 4
    assert imported.read_text() == "yes " * 5  # serve and four stages
