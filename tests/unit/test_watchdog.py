# SPDX-License-Identifier: Apache-2.0
"""The watchdog's judgement, with a clock of its own; tests/server has it on real servers that fail."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from build_scripts.installation import STUB
from build_scripts.life_signs import ENGINE, STEPS, Answer, Outcome
from build_scripts.steps import Step, find_steps
from build_scripts.watchdog import Work

HANG = 60
SERVED, WAITED = Answer(Outcome.SERVED), Answer(Outcome.WAITED)
SILENT, FAILED = Answer(Outcome.SILENT), Answer(Outcome.FAILED, "internal error")
EVERYBODY = frozenset(STEPS)


class Watched:
    """A server's work, watched as the watchdog does, every five seconds."""

    def __init__(self):
        self.now, self.counts = 1000.0, dict.fromkeys(STEPS, 0)
        self.asked = 0
        self.work = Work(HANG, clock=lambda: self.now)
        self.work.look(self.signs)

    @property
    def signs(self):
        return {step: {"count": str(count)} for step, count in self.counts.items()}

    def go(self, seconds, works=(), answer=SERVED):
        """So long `works` work, and what is asked is answered so; the verdict at the end, or the first."""
        for _ in range(0, seconds, 5):
            self.now += 5
            for step in works:
                self.counts[step] += 1
            self.work.look(self.signs)
            if self.work.in_doubt(5):
                self.asked += 1
                self.work.judge(answer)
            if verdict := self.work.verdict():
                return verdict
        return ""


@pytest.fixture
def watched():
    return Watched()


def test_an_idle_server_that_answers_lives(watched):
    assert watched.go(3600) == ""
    assert watched.asked == 720


def test_while_all_steps_work_nobody_is_asked(watched):
    assert watched.go(3600, works=EVERYBODY) == ""
    assert watched.asked == 0


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_does_nothing_is_asked_about_though_others_work(watched, step):
    watched.go(60, works=EVERYBODY - {step})
    assert watched.asked == 12


def test_an_engine_that_hangs_answers_by_the_clock_and_makes_no_token(watched):
    watched.go(600)
    assert watched.go(HANG - 5, works=EVERYBODY - {ENGINE}, answer=WAITED) == ""
    assert watched.go(5, answer=WAITED) == "tensorrt_llm made no token for 60 s, though asked"


def test_a_cache_in_use_that_changes_is_work_and_one_that_comes_and_goes_is_none(watched):
    for used, works in (("0.1", False), ("0.2", True), (None, False), ("0.2", False)):
        watched.now += 5
        watched.work.look({ENGINE: {"cache": used}} if used else {ENGINE: {}})
        assert watched.work._idle[ENGINE] == 0 if works else watched.work._idle[ENGINE] > 0


def test_a_full_queue_is_no_hang_as_long_as_tokens_flow(watched):
    assert watched.go(3600, works={ENGINE, "postprocessing"}, answer=WAITED) == ""


@pytest.mark.parametrize("step", [step for step in STEPS if step != ENGINE])
def test_a_step_that_hangs_leaves_requests_unanswered(watched, step):
    verdict = watched.go(2 * HANG, works=EVERYBODY - {step}, answer=SILENT)
    assert verdict == f"{step} did nothing for 60 s, though asked"


def test_where_everything_stands_still_all_are_named(watched):
    verdict = watched.go(2 * HANG, answer=SILENT)
    assert verdict == f"{', '.join(STEPS)} did nothing for 60 s, though asked"


def test_one_request_lost_is_nothing(watched):
    for answer in (SILENT, FAILED):
        assert watched.go(5, answer=answer) == ""
        assert watched.go(300) == ""


def test_a_server_that_answers_with_errors_alone_serves_nobody(watched):
    assert watched.go(HANG - 5, answer=FAILED) == ""
    assert watched.go(5, answer=FAILED).endswith("did nothing for 60 s, though asked (internal error)")


def test_errors_kill_no_server_whose_steps_work(watched):
    """As where a machine is so busy that Triton takes a step for dead, or one prompt finds a bug."""
    for _ in range(20):
        assert watched.go(HANG // 2, answer=FAILED) == ""
        assert watched.go(5, works=EVERYBODY) == ""


def test_metrics_that_are_not_answered_prove_nothing(watched):
    watched.counts = {}
    assert watched.go(300) == ""
    assert "did nothing" in watched.go(2 * HANG, answer=SILENT)


def test_a_machine_that_slept_says_nothing_about_the_server(watched):
    watched.go(300)
    watched.now += 3600
    assert watched.go(5) == ""


def test_a_prompt_that_is_refused_kills_nobody_and_is_told_once(watched, capsys):
    assert watched.go(3600, answer=Answer(Outcome.SERVED, "text_input: has no tokens")) == ""
    told = capsys.readouterr().err
    assert told == "serve: the watchdog is blind to steps that hang: text_input: has no tokens\n"


def test_a_process_lives_until_it_has_died_collected_or_not():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        step = Step("preprocessing", process.pid)
        assert step.lives
        os.kill(process.pid, signal.SIGSTOP)
        assert step.lives, "a process that is stopped hangs"
        process.kill()
        deadline = time.monotonic() + 10
        while step.lives and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not step.lives, "a zombie"
    assert not step.lives, "collected"


def test_a_step_is_found_by_its_process_s_name_also_one_that_died_before(tmp_path):
    program = tmp_path / STUB
    shutil.copy("/bin/cat", program)
    pipe = tmp_path / "preprocessing/1/model.py"
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)  # what cat waits for
    with subprocess.Popen([program, pipe]) as step:
        assert find_steps(os.getpid()) == [Step("preprocessing", step.pid)]
        step.kill()
        os.waitid(os.P_PID, step.pid, os.WEXITED | os.WNOWAIT)
        (found,) = find_steps(os.getpid())
        assert (found.model, found.lives) == ("a step", False)
    assert find_steps(os.getpid()) == []
