# SPDX-License-Identifier: Apache-2.0
"""Tries grammars in a process of its own before an engine gets them: it is ended if one takes too long.

The library that compiles grammars, xgrammar, cannot be stopped, and its memory cannot be bounded; and with
some grammars it is each token that takes long, for all requests of a step.
"""

from __future__ import annotations

import collections
import contextlib
import json
import logging
import queue
import resource
import selectors
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from llm_ensemble.errors import EngineError

log = logging.getLogger(__name__)

START_SECONDS = 60.0  # of the process, before its first trial
REMEMBERED = 1000  # verdicts
# Ends with the parent, and has threads with small stacks again: serve gives Triton large ones, of
# which too few fit into the process's memory.
_BEGIN = (
    "import ctypes, os, resource as r, sys; ctypes.CDLL(None).prctl(1, 15); "
    "r.setrlimit(r.RLIMIT_STACK, (8 << 20, r.getrlimit(r.RLIMIT_STACK)[1])); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)
Done = Callable[[str | EngineError], None]


class GuideTrials:
    """Tries grammars, one after the other, in a thread of its own that starts with the first.

    process: the one that tries. accept: is called with a grammar that passed and its end token, before `done`
    is, in the same thread; what is raised there goes to `done`, too.
    """

    def __init__(self, process: TrialProcess, accept: Callable[[str, int], None] = lambda *_: None) -> None:
        self._process, self._accept = process, accept
        self._verdicts: collections.OrderedDict[str, str] = collections.OrderedDict()
        self._jobs: queue.Queue[tuple[str, int, Done] | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def submit(self, grammar: str, end_id: int, done: Done) -> None:
        """Try a grammar; call `done` in any thread, with what is wrong with it, "" if nothing is."""
        verdict = self._verdicts.get(grammar)
        if verdict is not None:
            done(verdict)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="guide-trials", daemon=True)
            self._thread.start()
        self._jobs.put((grammar, end_id, done))

    def close(self) -> None:
        """End the thread and the process."""
        self._jobs.put(None)
        self._process.close()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        while job := self._jobs.get():
            grammar, end_id, done = job
            try:
                done(self._verdict(grammar, end_id))
            except Exception as error:
                log.exception("a guide could not be tried")
                done(EngineError(f"a guide could not be tried: {error}"))

    def _verdict(self, grammar: str, end_id: int) -> str:
        verdict = self._verdicts.get(grammar)
        if verdict is None:
            verdict = self._process.problem(grammar, end_id)
            if not verdict:
                self._accept(grammar, end_id)
            self._verdicts[grammar] = verdict
            while len(self._verdicts) > REMEMBERED:
                self._verdicts.popitem(last=False)
        return verdict


class TrialProcess:
    """The process that tries grammars; started when needed, and again after it was ended.

    module: is run as a program, with `argument`, and calls answer(). seconds: that a trial may take.
    """

    def __init__(self, module: str, argument: Path, seconds: float) -> None:
        self._module, self._argument, self._seconds = module, argument, seconds
        self._process: subprocess.Popen[str] | None = None
        self._closed = False

    def problem(self, grammar: str, end_id: int) -> str:
        """Return what is wrong with a grammar, "" if nothing is. Raise EngineError if there is no process."""
        if self._process is None:
            self._start()
            if self._ask('root ::= "a"', end_id, START_SECONDS) != "":
                self._end()
                raise EngineError("the process that tries guides does not start")
        answer = self._ask(grammar, end_id, self._seconds)
        if answer is not None:
            return answer
        return (
            f"takes the engine more than {self._seconds:g} s or too much memory to compile; make it simpler"
        )

    def close(self) -> None:
        """End the process, and any trial with it."""
        self._closed = True
        self._end()

    def _start(self) -> None:
        if self._closed:
            raise RuntimeError("the engine is closed")
        # Within Triton sys.executable is the stub, not Python.
        python = str(Path(sys.prefix, "bin/python3"))
        command = [python, "-Sc", _BEGIN, python, "-m", self._module, str(self._argument)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _ask(self, grammar: str, end_id: int, seconds: float) -> str | None:
        """Return the answer of the process; None if none came, and then the process is ended."""
        process = self._process
        assert process
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(json.dumps([grammar, end_id]) + "\n")
            process.stdin.flush()
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                if selector.select(seconds) and (line := process.stdout.readline()):
                    return str(json.loads(line))
        except OSError:
            log.warning("the process that tries guides has ended", exc_info=True)
        self._end()
        return None

    def _end(self) -> None:
        if process := self._process:
            self._process = None
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # of what was not written yet
                    pipe and pipe.close()


def answer(problem: Callable[[str, int], str], memory: int) -> None:
    """Answer, in the process, until standard input ends.

    problem: says what is wrong with a grammar, given an end token. memory: bytes of address space at most.
    """
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    for line in sys.stdin:
        grammar, end_id = json.loads(line)
        print(json.dumps(problem(grammar, end_id)), flush=True)  # noqa: T201


def too_slow(seconds: float, most: float) -> str:
    """Return what is wrong with a grammar whose tokens take so many seconds each, "" for `most` or less."""
    return (
        f"each token would take the engine {1000 * seconds:.0f} ms more; make it simpler"
        if seconds > most
        else ""
    )
