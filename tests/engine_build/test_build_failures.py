# SPDX-License-Identifier: Apache-2.0
"""A build that fails or is stopped half-way leaves OUTPUT as it was."""

import fcntl
import json
import os
import shutil
import signal
import subprocess

import pytest

from tests.build_environment import BUILD_PYTHON, ROOT


def snapshot(folder):
    """Everything in a folder: files with their content, folders with None."""
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


@pytest.fixture
def old_engine(built, tmp_path):
    """An engine directory that a new build is to replace, in a folder of its own."""
    (tmp_path / "engines").mkdir()
    return shutil.copytree(built.engine("opt", "int8"), tmp_path / "engines/opt")


@pytest.mark.parametrize(
    ("stage", "number", "status"),
    [("[2/5]", signal.SIGTERM, 143), ("[3/5]", signal.SIGINT, 130)],
)
def test_a_build_that_is_stopped_leaves_the_old_engine_and_nothing_else(
    checkpoints, old_engine, stage, number, status
):
    before = snapshot(old_engine.parent)
    command = [
        BUILD_PYTHON,
        "-m",
        "build_scripts.build",
        "--model",
        checkpoints / "llama",
        "--output",
        old_engine,
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        shown = ""
        while stage not in shown:
            shown += process.stdout.read(1)
        process.send_signal(number)
        process.send_signal(number)  # an impatient person
        out, err = process.communicate()
    assert process.returncode == status, shown + out + err
    assert err == "build: interrupted: nothing was written\n"
    assert snapshot(old_engine.parent) == before


def test_a_build_that_fails_leaves_the_old_engine_and_says_where_the_whole_story_is(
    build, checkpoints, old_engine, tmp_path
):
    broken = shutil.copytree(checkpoints / "llama", tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    before = snapshot(old_engine.parent)
    result = build(model=broken, output=old_engine, env={"TMPDIR": str(tmp_path)})
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("build: ")
    assert "SafetensorError" in last
    assert "Traceback" not in result.stderr
    log = next(tmp_path.glob("build-*.log"))
    assert str(log) in last
    assert "Traceback" in log.read_text()
    assert snapshot(old_engine.parent) == before


def test_an_engine_that_says_something_else_than_its_checkpoint_is_not_shipped(built):
    assert "does not say what its checkpoint says" in built.refusal("garbling", "int8")
    assert "PRECISION=fp16" in built.refusal("garbling", "int8")
    assert not built.engine("garbling", "int8").exists()


def test_an_engine_that_a_killed_build_had_moved_aside_comes_back(build, old_engine):
    before = snapshot(old_engine)
    old_engine.rename(old_engine.with_name(".opt.replaced"))
    assert build(model=old_engine.parent / "nowhere", output=old_engine).returncode == 1
    assert snapshot(old_engine) == before
    assert [path.name for path in old_engine.parent.iterdir()] == ["opt"]


def test_two_builds_of_one_output_do_not_mix(build, checkpoints, tmp_path):
    folder = tmp_path / ".opt.building"
    folder.mkdir()
    (folder / "work").write_text("of the other build")
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    result = build(model=checkpoints / "opt", output=tmp_path / "opt")
    os.close(descriptor)
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert "another build is writing" in result.stderr
    assert (folder / "work").read_text() == "of the other build"


def test_a_damaged_manifest_does_not_turn_an_engine_into_a_strangers_folder(build, old_engine, tmp_path):
    manifest = json.loads((old_engine / "manifest.json").read_bytes())
    (old_engine / "manifest.json").write_text(json.dumps({**manifest, "schema": 0}))
    result = build(model=tmp_path / "nowhere", output=old_engine)
    assert "no such folder" in result.stderr
