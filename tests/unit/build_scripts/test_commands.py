# SPDX-License-Identifier: Apache-2.0
"""Commands of others: shown and kept as they go, explained when they fail, ended with all they started."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from build_scripts.errors import CommandFailed
from build_scripts.progress import Progress
from build_scripts.tensorrt_llm.commands import run
from serving.tritonserver import ROOT
from tests.waiting import SECONDS, wait_for


@pytest.fixture
def progress():
    made = Progress(1)
    yield made
    made.drop_log()


def python(code, *more):
    return [sys.executable, "-c", code, *more]


def test_the_line_can_be_run_alone_and_the_output_is_shown_and_kept(progress, capfd):
    run(python("import sys; print('out'); print('err', file=sys.stderr)", "two words"), progress)
    shown = capfd.readouterr().out
    assert shown.startswith(f"$ {sys.executable} -c 'import sys; ")
    assert "'two words'\n" in shown
    assert {"out", "err"} <= set(shown.splitlines())
    assert progress.log.read_text() == shown


WAITS = """
import pathlib, sys, time
print("early")
for _ in range(6000):
    if pathlib.Path(sys.argv[1]).exists(): sys.exit()
    time.sleep(0.01)
sys.exit("nobody has seen it")
"""


def test_output_is_shown_while_the_command_runs(progress, tmp_path):
    seen = tmp_path / "seen"
    progress.show = lambda output: output.startswith(b"early") and seen.touch()
    run(python(WAITS, str(seen)), progress)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import sys; sys.exit(3)", "ended with exit code 3: read the lines above"),
        ("print('CUDA out of memory'); exit(1)", "exit code 1: it ran out of memory: free the GPU"),
        ("raise OSError(28, 'No space left on device')", "the disk is full"),
        ("print('HTTPError: datasets/cnn'); exit(1)", "give a local folder with --calib-dataset"),
        ("import os; os.kill(os.getpid(), 9)", "was ended by SIGKILL: most likely the machine ran out"),
        ("import os; os.abort()", "was ended by SIGABRT"),
    ],
)
def test_a_failure_gives_the_exit_code_and_what_to_do(progress, code, told):
    with pytest.raises(CommandFailed, match=told):
        run(python(code), progress)


def test_a_script_is_called_by_its_own_name(progress, tmp_path):
    (tmp_path / "convert_checkpoint.py").write_text("exit(2)")
    with pytest.raises(CommandFailed, match=r"^convert_checkpoint.py ended with exit code 2"):
        run([sys.executable, str(tmp_path / "convert_checkpoint.py")], progress)


BUSY = """
import os, pathlib, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()} {child.pid}")
if len(sys.argv) > 2: sys.exit(0)
time.sleep(300)
"""


def gone(pid):
    """Ended; its parent may not have heard of it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until_gone(pids):
    wait_for(lambda: all(map(gone, pids)))


INTERRUPTED = """
import signal, sys
from build_scripts.progress import Interrupted, Progress
from build_scripts.tensorrt_llm.commands import run

progress = Progress(1)
signal.signal(signal.SIGUSR1, progress.interrupt)
try:
    run(sys.argv[1:], progress)
except Interrupted:
    sys.exit(5)
finally:
    progress.drop_log()
"""


def test_an_interrupt_ends_the_command_and_what_it_started(tmp_path):
    """In a process of its own: one that has computed with OpenVINO may die of any signal that it handles."""
    note = tmp_path / "pids"
    with subprocess.Popen(python(INTERRUPTED, *python(BUSY, str(note))), cwd=ROOT) as process:
        try:
            wait_for(lambda: note.exists() and note.read_text())
            process.send_signal(signal.SIGUSR1)
            assert process.wait(SECONDS) == 5
        finally:
            process.kill()
    wait_until_gone([int(pid) for pid in note.read_text().split()])


def test_what_a_command_leaves_behind_is_ended_too(progress, tmp_path):
    note = tmp_path / "pids"
    run(python(BUSY, str(note), "leave"), progress)
    wait_until_gone([int(pid) for pid in note.read_text().split()])
