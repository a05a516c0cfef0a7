# SPDX-License-Identifier: Apache-2.0
"""Commands of others within a build: printed so that a person can run them alone, watched, ended with it."""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from build_scripts.build_error import CommandFailed
from build_scripts.progress import Progress
from build_scripts.tritonserver import END_WITH_PARENT

GRACE_SECONDS = 10  # for a command that is asked to end
# What the last lines of a failed command may contain, and what to do then.
ADVICE = {
    "out of memory": "it ran out of memory: free the GPU, give smaller limits or more --tensor-parallel",
    "outofmemory": "it ran out of memory: free the GPU, give smaller limits or more --tensor-parallel",
    "no space left": "the disk is full: the output folder needs about twice the model's size",
    "datasets": "the texts to calibrate on could not be had: give a local folder with --calib-dataset",
    "trust_remote_code": "the checkpoint needs its own code: read it first, then allow --trust-remote-code",
}
OTHERWISE = "read the lines above; the command can be run alone as it is printed"


def run(command: Sequence[str], progress: Progress) -> None:
    """Run to the end; its output is shown and kept. Raises CommandFailed unless it exits with 0.

    Whatever stops the build ends the command and all that it started.
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
    """A process group of its own: Ctrl-C in the terminal is for the build, which then ends the group."""
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
    """Until the output ends, or the process has and is silent: what it left behind may hold the pipe."""
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
    _signal_group(process, signal.SIGKILL)  # what it started and left
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _name(command: Sequence[str]) -> str:
    """The script where Python runs one."""
    return Path(next((part for part in command if part.endswith(".py")), command[0])).name


def _ending(status: int) -> str:
    return f"ended with exit code {status}" if status > 0 else f"was ended by {signal.Signals(-status).name}"


def _advice(status: int, said: str) -> str:
    if status == -signal.SIGKILL:
        return "most likely the machine ran out of memory: give it more, or take a smaller model"
    last = "\n".join(said.splitlines()[-30:]).lower()
    return next((advice for words, advice in ADVICE.items() if words in last), OTHERWISE)
