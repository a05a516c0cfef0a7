# SPDX-License-Identifier: Apache-2.0
"""What the watchdog concludes, with a clock of the test's; tests/server has it on real servers that fail."""

import pytest

from serving.health import ENGINE_STAGE, STAGES, WAYS, Outcome, ProbeResult
from serving.watchdog import Progress

HANG = 60
SERVED, NO_TOKEN = ProbeResult(Outcome.SERVED), ProbeResult(Outcome.NO_TOKEN)
NO_RESPONSE, FAILED = ProbeResult(Outcome.NO_RESPONSE), ProbeResult(Outcome.FAILED, "internal error")
ALL_STAGES = frozenset(STAGES)


class Watched:
    """A server's progress, checked every five seconds as the watchdog does."""

    def __init__(self):
        self.now, self.counts = 1000.0, dict.fromkeys(STAGES, 0)
        self.probes = 0
        self.progress = Progress(HANG, clock=lambda: self.now)
        self.progress.update(self.counters)

    @property
    def counters(self):
        return {stage: {"count": str(count)} for stage, count in self.counts.items()}

    def go(self, seconds, working=(), result=SERVED):
        """Let time pass while these stages work and probes have this result; return a verdict, or ""."""
        for _ in range(0, seconds, 5):
            self.now += 5
            for stage in working:
                self.counts[stage] += 1
            self.progress.update(self.counters)
            for way in self.progress.stalled_ways(5):
                self.probes += 1
                self.progress.record(way, result)
            if verdict := self.progress.verdict():
                return verdict
        return ""


@pytest.fixture
def watched():
    return Watched()


def test_an_idle_server_that_serves_probes_is_healthy(watched):
    assert watched.go(3600) == ""
    assert watched.probes == 2 * 720


def test_while_all_stages_work_none_is_probed(watched):
    assert watched.go(3600, working=ALL_STAGES) == ""
    assert watched.probes == 0


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_does_nothing_is_probed_though_others_work(watched, stage):
    """By the ways on which it is; a server that gets plain requests alone is not probed with more of them."""
    watched.go(60, working=ALL_STAGES - {stage})
    assert watched.probes == 12 * sum(stage in stages for stages in WAYS.values())


@pytest.mark.parametrize("way", WAYS)
def test_a_probe_proves_nothing_of_the_stages_of_the_other_way(watched, way):
    watched.now += 5
    watched.progress.update(watched.counters)
    watched.progress.record(way, SERVED)
    assert {stage for stage, seconds in watched.progress._stalled.items() if not seconds} == {*WAYS[way]}


def test_an_engine_that_hangs_responds_by_deadlines_and_generates_no_token(watched):
    watched.go(600)
    assert watched.go(HANG - 5, working=ALL_STAGES - {ENGINE_STAGE}, result=NO_TOKEN) == ""
    assert watched.go(5, result=NO_TOKEN) == "tensorrt_llm generated no token for 60 s, although probed"


def test_a_cache_in_use_that_changes_is_progress_and_one_that_comes_and_goes_is_none(watched):
    for used, works in (("0.1", False), ("0.2", True), (None, False), ("0.2", False)):
        watched.now += 5
        watched.progress.update({ENGINE_STAGE: {"cache": used}} if used else {ENGINE_STAGE: {}})
        stalled = watched.progress._stalled[ENGINE_STAGE]
        assert stalled == 0 if works else stalled > 0


def test_a_full_queue_is_no_hang_as_long_as_tokens_flow(watched):
    assert watched.go(3600, working={ENGINE_STAGE, "postprocessing"}, result=NO_TOKEN) == ""


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != ENGINE_STAGE])
def test_a_stage_that_hangs_leaves_probes_without_a_response(watched, stage):
    verdict = watched.go(2 * HANG, working=ALL_STAGES - {stage}, result=NO_RESPONSE)
    assert verdict == f"{stage} made no progress for 60 s, although probed"


def test_where_everything_stands_still_all_are_named(watched):
    verdict = watched.go(2 * HANG, result=NO_RESPONSE)
    assert verdict == f"{', '.join(STAGES)} made no progress for 60 s, although probed"


def test_one_request_lost_is_nothing(watched):
    for result in (NO_RESPONSE, FAILED):
        assert watched.go(5, result=result) == ""
        assert watched.go(300) == ""


def test_a_server_that_responds_with_errors_only_is_not_healthy(watched):
    assert watched.go(HANG - 5, result=FAILED) == ""
    assert watched.go(5, result=FAILED).endswith(
        "made no progress for 60 s, although probed (internal error)"
    )


def test_errors_end_no_server_whose_stages_work(watched):
    """As where a machine is so busy that Triton takes a stage for dead, or one prompt finds a bug."""
    for _ in range(20):
        assert watched.go(HANG // 2, result=FAILED) == ""
        assert watched.go(5, working=ALL_STAGES) == ""


def test_metrics_that_cannot_be_read_prove_nothing(watched):
    watched.counts = {}
    assert watched.go(300) == ""
    assert "made no progress" in watched.go(2 * HANG, result=NO_RESPONSE)


def test_a_suspended_machine_says_nothing_about_the_server(watched):
    watched.go(300)
    watched.now += 3600
    assert watched.go(5) == ""


def test_a_probe_that_is_refused_ends_no_server_and_is_reported_once(watched, capsys):
    assert watched.go(3600, result=ProbeResult(Outcome.SERVED, "text_input: has no tokens")) == ""
    assert capsys.readouterr().err == (
        "serve: the watchdog cannot find stages that hang: its probe is refused: text_input: has no tokens\n"
    )
