# SPDX-License-Identifier: Apache-2.0
"""Whether the steps of a ready server live and work; tritonserver 2.51.0 says that it is ready even if not.

A process that died is seen within half a second. A step that hangs is found by what it does: numbers that
grow, and where these stand still, a request for one token through all steps.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

from build_scripts.life_signs import ENGINE, STEPS, Answer, Outcome, Signs, probe, read_signs
from build_scripts.steps import find_steps
from build_scripts.tritonserver import Server

LOOK_SECONDS = 5  # between two looks at an idle server, and after which a step that did nothing is asked
AGAIN_SECONDS = 1  # after an answer that may be one request's misfortune
MOST_COST = 50  # an idle server computes for the watchdog at most so small a part of the time


class Watchdog:
    """Watches a server that is ready, from a thread of its own, until the block is left."""

    def __init__(self, server: Server, hang_seconds: float) -> None:
        self._processes = find_steps(server.process.pid)
        self._work = Work(hang_seconds)
        self._ports, self._hang_seconds = server.ports, hang_seconds
        self._verdict = ""
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def verdict(self) -> str:
        """What has died or hangs, in words; empty while all is well. Never waits."""
        dead = [step for step in self._processes if not step.lives]
        if dead:
            return f"{dead[0].model} has died (its process was {dead[0].pid})"
        return self._verdict

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        usual = min(LOOK_SECONDS, self._hang_seconds / 4)
        pause = usual
        while not self._stopped.wait(pause) and not self._verdict:
            self._work.look(read_signs(self._ports))
            self._verdict = self._work.verdict()
            pause = usual
            if self._work.in_doubt(usual) and not self._verdict:
                pause = self._ask(usual)

    def _ask(self, usual: float) -> float:
        """Ask the server for a token; seconds until the next look."""
        started = time.monotonic()
        # Its own deadline ends it before we stop waiting: who answers by that is not the one that hangs.
        answer = probe(self._ports, self._hang_seconds / 4, self._hang_seconds / 3)
        self._work.judge(answer)
        if answer.outcome is not Outcome.SERVED:
            return AGAIN_SECONDS
        return max(usual, min((time.monotonic() - started) * MOST_COST, self._hang_seconds / 2))


class Work:
    """What each step was last seen doing. clock: seconds, monotonic.

    hang_seconds: how long a step may do nothing, though it was asked to.
    """

    def __init__(self, hang_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._hang_seconds, self._clock = hang_seconds, clock
        self._signs: Signs = {step: {} for step in STEPS}
        self._idle = dict.fromkeys(STEPS, 0.0)  # seconds since each was seen to work
        self._looked_at = clock()
        self._error = ""  # what an answer said last, if it was one
        self._warned = False

    def look(self, signs: Signs) -> None:
        """Take the numbers of now: who changed has worked since the last look."""
        now = self._clock()
        # A machine that slept, or a watchdog that was not let run, says nothing about the server.
        passed = min(now - self._looked_at, self._hang_seconds / 2 + LOOK_SECONDS)
        self._looked_at = now
        for step in STEPS:
            before, seen = self._signs[step], signs.get(step, {})
            moved = any(number != before.get(name, number) for name, number in seen.items())
            self._idle[step] = 0.0 if moved else self._idle[step] + passed
            before.update(seen)

    def in_doubt(self, seconds: float) -> bool:
        """Whether some step was not seen to work for so long."""
        return max(self._idle.values()) >= seconds

    def judge(self, answer: Answer) -> None:
        """Take the answer to a request that went through all steps.

        An error proves nothing, not even that of a step that is "not healthy": Triton says so of any whose
        process was not let run for a second.
        """
        self._error = answer.words if answer.outcome is Outcome.FAILED else ""
        if answer.outcome in (Outcome.FAILED, Outcome.SILENT):
            return
        engine = 0.0 if answer.outcome is Outcome.SERVED else self._idle[ENGINE]
        self._idle = {**dict.fromkeys(STEPS, 0.0), ENGINE: engine}
        if answer.outcome is Outcome.SERVED and answer.words and not self._warned:
            self._warned = True
            sys.stderr.write(f"serve: the watchdog is blind to steps that hang: {answer.words}\n")

    def verdict(self) -> str:
        """What hangs, in words; empty while nothing does."""
        idle = [step for step in STEPS if self._idle[step] >= self._hang_seconds]
        if not idle:
            return ""
        done = "made no token" if idle == [ENGINE] else "did nothing"
        error = f" ({self._error})" if self._error else ""
        return f"{', '.join(idle)} {done} for {self._idle[idle[-1]]:.0f} s, though asked{error}"
