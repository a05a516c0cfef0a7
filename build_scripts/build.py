# SPDX-License-Identifier: Apache-2.0
"""Build an engine directory from a Hugging Face checkpoint.

    python -m build_scripts.build --model facebook/opt-125m --precision int8 --output engines/opt-125m

Each target has its build.py; the manifest is written last. Exits with 0, with 1 and one line `build: ...`
on standard error, with 130 on Ctrl-C and 143 on SIGTERM. Only a build that succeeds changes OUTPUT.
"""

from __future__ import annotations

import shlex
import signal
import sys

from build_scripts.command_line import parse
from build_scripts.errors import BuildError, CommandFailed
from build_scripts.options import BuildOptions
from build_scripts.progress import Interrupted, Progress
from build_scripts.staging import Staging
from build_scripts.targets import TARGETS

STAGES = 5


def build(options: BuildOptions, progress: Progress) -> None:
    """Build the engine directory that the options describe, all of it or nothing. Raise BuildError."""
    with Staging(options.output) as staging:
        TARGETS[options.engine].build(staging.folder, options, progress)
        staging.publish()


def main(arguments: list[str] | None = None) -> int:
    """Run one build from the command line; return the exit status."""
    try:
        options = parse(arguments)
    except BuildError as error:
        return _say(str(error), 1)
    progress = Progress(STAGES)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, progress.interrupt)
    try:
        build(options, progress)
    except (Exception, Interrupted) as error:
        return _report(progress.interrupted or error, progress)
    progress.drop_log()
    output = shlex.quote(str(options.output))
    sys.stdout.write(f"{output} is ready: make serve ENGINE_DIR={output}\n")
    return 0


def _report(error: BaseException, progress: Progress) -> int:
    """Print what stopped the build, after the end of the log if a library or command failed."""
    if isinstance(error, CommandFailed):
        sys.stderr.write(progress.tail())
        return _say(f"{error} (everything is in {progress.log})", 1)
    if not isinstance(error, (BuildError, Interrupted)):
        sys.stderr.write(progress.tail())
        progress.keep_traceback()
        reason = " ".join(str(error).split())[:300]
        return _say(f"{type(error).__name__}: {reason} (everything is in {progress.log})", 1)
    progress.drop_log()
    if isinstance(error, Interrupted):
        return _say("interrupted: nothing was written", 128 + error.number)
    return _say(str(error), 1)


def _say(line: str, status: int) -> int:
    sys.stderr.write(f"build: {line}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
