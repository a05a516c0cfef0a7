# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import signal
import subprocess
import sys

from serving.health import Stub, find_stubs
from serving.installation import STUB
from serving.server_environment import STUB_WRAPPER
from tests.waiting import wait_for


def test_a_stub_is_alive_until_it_has_died_collected_or_not():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        stub = Stub("preprocessing", process.pid)
        assert stub.is_alive
        os.kill(process.pid, signal.SIGSTOP)
        assert stub.is_alive, "a process that is stopped hangs"
        process.kill()
        wait_for(lambda: not stub.is_alive)  # a zombie
    assert not stub.is_alive, "collected"


def test_a_stub_is_found_by_its_process_s_name_also_one_that_died_before(tmp_path):
    program = tmp_path / STUB
    shutil.copy("/bin/cat", program)
    pipe = tmp_path / "preprocessing/1/model.py"
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)  # which cat waits for
    with subprocess.Popen([program, pipe]) as process:
        assert find_stubs(os.getpid()) == [Stub("preprocessing", process.pid)]
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        (found,) = find_stubs(os.getpid())
        assert (found.stage, found.is_alive) == ("a stage", False)
    assert find_stubs(os.getpid()) == []


def started(tmp_path, stage, **environ):
    """PATH and CUDA_VISIBLE_DEVICES of a stub that stub.sh starts for a stage, and its other variables."""
    folder = tmp_path / "backend/real"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STUB).unlink(missing_ok=True)
    (folder / STUB).write_text("#!/bin/sh\nenv\n")
    (folder / STUB).chmod(0o755)
    wrapper = folder.parent / STUB
    wrapper.unlink(missing_ok=True)
    wrapper.symlink_to(STUB_WRAPPER)
    command = [wrapper, f"/models/{stage}/1/model.py", "shm"]
    done = subprocess.run(command, env={"PATH": "/usr/bin:/bin", **environ}, capture_output=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.decode().splitlines())


def test_the_engine_stage_alone_has_the_engine_s_python_first_on_path(tmp_path):
    environ = {"ENGINE_STAGE_BIN": "/venv/bin"}
    assert started(tmp_path, "tensorrt_llm", **environ)["PATH"] == "/venv/bin:/usr/bin:/bin"
    for stage in ("preprocessing", "postprocessing", "ensemble_unary"):
        found = started(tmp_path, stage, **environ)
        assert found["PATH"] == "/usr/bin:/bin"
        assert "ENGINE_STAGE_BIN" not in found
    assert started(tmp_path, "tensorrt_llm")["PATH"] == "/usr/bin:/bin"
