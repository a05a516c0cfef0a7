# SPDX-License-Identifier: Apache-2.0
"""What make hands on of what it was given: to the letter, though the shell and make know other meanings."""

import os
import shlex
import subprocess

import pytest

from serving.tritonserver import ROOT
from tests.odd_paths import odd

NAME = odd("utf-8").replace("\n", " ")
PATHS = {"serve": {"ENGINE_DIR": "--engine-dir", "HOST": "--host"}, "build": {"MODEL": "--model"}}
PATHS["build"] |= {"OUTPUT": "--output", "CALIB_DATASET": "--calib-dataset", "PRECISION": "--precision"}


# What a make that runs these tests tells the ones below it: they would print the folders that they enter.
FROM_ABOVE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
ENVIRON = {name: value for name, value in os.environ.items() if name not in FROM_ABOVE}


def dry_run(target, *words, **environ):
    return subprocess.run(
        ["make", "-n", target, *words],
        cwd=ROOT,
        capture_output=True,
        env={**ENVIRON, **environ},
        check=False,
        timeout=60,
    )


def last_words(done):
    return shlex.split(os.fsdecode(done.stdout).splitlines()[-1])


@pytest.mark.parametrize("value", [NAME, odd("not utf-8"), "it's", "$(shell false)", "a$$b"])
@pytest.mark.parametrize(("target", "name"), [(target, name) for target in PATHS for name in PATHS[target]])
def test_a_value_is_one_word_and_the_same_from_the_command_line_and_the_environment(target, name, value):
    word = f"{PATHS[target][name]}={value}"
    assert word in last_words(dry_run(target, f"{name}={value}"))
    assert word in last_words(dry_run(target, **{name: value}))


@pytest.mark.parametrize("value", [NAME, "it's", "$(shell false)", "a$$b"])
def test_make_gpu_serves_what_it_builds_whatever_its_name(value):
    *_, build, serve = os.fsdecode(dry_run("gpu", f"OUTPUT={value}", "MODEL=m").stdout).splitlines()
    assert {"--engine=vllm", "--model=m", f"--output={value}"} <= set(shlex.split(build))
    assert f"--engine-dir={value}" in shlex.split(serve)
    # Without OUTPUT the shell makes a name of the model's.
    *_, build, serve = os.fsdecode(dry_run("gpu", f"MODEL=a/{value}", OUTPUT="").stdout).splitlines()
    for line, option in ((build, "--output="), (serve, "--engine-dir=")):
        said = subprocess.run(
            ["sh", "-c", f"printf '%s\\n' {line.partition(' ')[2]}"], capture_output=True, check=True
        )
        assert f"{option}engines/{value}-vllm" in os.fsdecode(said.stdout).splitlines()


def test_python_may_lie_anywhere(tmp_path):
    done = dry_run("serve", "-B", f"PYTHON={tmp_path}/{NAME}")
    commands = [shlex.split(line) for line in os.fsdecode(done.stdout).splitlines() if "-m venv" in line]
    assert commands == [[f"{tmp_path}/{NAME}", "-m", "venv", ".venv"]]


@pytest.mark.parametrize("name", ["ENGINE_DIR", "MODEL", "OUTPUT", "HOST", "PYTHON", "CALIB_DATASET"])
def test_a_line_break_is_refused_in_one_line(name):
    done = dry_run("serve", f"{name}=a\nb")
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert f"{name} has a line break, which make cannot pass on: rename" in line


def test_make_build_says_nothing_of_what_it_was_not_told():
    unset = dict.fromkeys(("OUTPUT", "PRECISION", "ENGINE"), "")
    assert last_words(dry_run("build", **unset))[-1] == "--model=models/demo"


@pytest.mark.parametrize("name", ["a:b", "a\nb", "\udcff"])
def test_a_clone_that_can_have_no_environment_is_refused_in_one_line(tmp_path, name):
    clone = tmp_path / name
    clone.mkdir()
    for file in ("Makefile", "pyproject.toml"):
        (clone / file).write_bytes((ROOT / file).read_bytes())
    done = subprocess.run(
        ["make", "serve"], cwd=clone, capture_output=True, env=ENVIRON, check=False, timeout=60
    )
    line, of_make = done.stderr.decode().splitlines()
    assert line.startswith(
        "make: no environment can be made in a folder whose path has a colon, a line break"
    )
    assert "Error 1" in of_make
    assert not (clone / ".venv").exists()
