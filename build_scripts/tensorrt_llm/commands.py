# SPDX-License-Identifier: Apache-2.0
"""External commands of a build: each is printed so that it can be run alone, and ends with the build."""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from build_scripts.errors import CommandFailed
from build_scripts.progress import Progress
from llm_ensemble.child_process import END_WITH_PARENT

GRACE_SECONDS = 10  # between SIGTERM and SIGKILL
# Words in the last lines of a failed command, and the advice for each.
ADVICE = {
    "out of memory": "it ran out of memory: free the GPU, give smaller limits or more --tensor-parallel",
    "outofmemory": "it ran out of memory: free the GPU, give smaller limits or more --tensor-parallel",
    "no space left": "the disk is full: the output folder needs about twice the model's size",
    "datasets": "the calibration texts could not be fetched: give a local folder with --calib-dataset",
    "trust_remote_code": "the checkpoint needs its own code: read it first, then allow --trust-remote-code",
}
OTHERWISE = "read the lines above; the command can be run alone as it is printed"


def run(command: Sequence[str], progress: Progress) -> None:
    """Run a command to its end, showing and logging its output. Raise CommandFailed unless it exits with 0.

    An exception, Interrupted included, ends the command and its child processes.
    """
    progress.show(f"$ {shlex.join(command)}\n".encode())
    start = progress.log.stat().st_size
    with _started(command) as process:
        _watch(process, progress)
        status = process.wait()
    if status:
        with progress.log.open("rb") as log:
            log.seek(start)
            said = log.read().decode(errors="replace")
        raise CommandFailed(f"{_name(command)} {_ending(status)}: {_advice(status, said)}")


@contextlib.contextmanager
def _started(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process group of its own: Ctrl-C reaches the build alone, which then ends the group."""
    process = subprocess.Popen(
        [*END_WITH_PARENT, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield process
    finally:
        _end_group(process)
        assert process.stdout is not None
        process.stdout.close()


def _watch(process: subprocess.Popen[bytes], progress: Progress) -> None:
    """Show output until it ends, or the process has ended: a process it left may hold the pipe open."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    while True:
        ready, _, _ = select.select([descriptor], [], [], 0.5)
        if ready:
            output = os.read(descriptor, 65536)
            if not output:
                return
            progress.show(output)
        elif process.poll() is not None:
            return


def _end_group(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        _signal_group(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    _signal_group(process, signal.SIGKILL)  # child processes that are left
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _name(command: Sequence[str]) -> str:
    """Return the file name of the Python script, if there is one, or of the program."""
    return Path(next((part for part in command if part.endswith(".py")), command[0])).name


def _ending(status: int) -> str:
    return f"ended with exit code {status}" if status > 0 else f"was ended by {signal.Signals(-status).name}"


def _advice(status: int, said: str) -> str:
    if status == -signal.SIGKILL:
        return "most likely the machine ran out of memory: give it more, or take a smaller model"
    last = "\n".join(said.splitlines()[-30:]).lower()
    return next((advice for words, advice in ADVICE.items() if words in last), OTHERWISE)
