# SPDX-License-Identifier: Apache-2.0
import time

import pytest

from llm_ensemble.engine_stage.pacing import Pacing


@pytest.fixture
def clock(monkeypatch):
    """Time stands still until the test moves it: clock[0] is now."""
    now = [time.monotonic()]
    monkeypatch.setattr("llm_ensemble.engine_stage.pacing.time.monotonic", lambda: now[0])
    return now


def pause_after(clock, *, cost, streams, pulses=500):
    """Seconds between a stream's chunks once so many pulses took so many seconds each."""
    pacing = Pacing(lambda: streams)

    def pulse():
        clock[0] += cost

    for _ in range(pulses):
        pacing.measure(pulse)
    return pacing.seconds


@pytest.mark.parametrize(
    ("streams", "seconds"),
    [
        (1, 0.0),  # a single stream is not delayed
        (2, 0.0032),
        (9, 0.0256),
        (32, 0.0992),  # a 32nd of the time for sending to the others
        (101, 0.1),  # no longer delay for that ...
        (251, 0.1),
        (1501, 0.2),  # ... but responding never takes more than three quarters of the time
    ],
)
def test_a_pause_is_as_long_as_sending_to_everybody_demands(clock, streams, seconds):
    assert pause_after(clock, cost=0.0001, streams=streams) == pytest.approx(seconds, rel=1e-3)


def test_instances_of_postprocessing_share_the_work(clock):
    pacing = Pacing(lambda: 9, lambda: 4)
    for _ in range(500):
        pacing.measure(lambda: clock.__setitem__(0, clock[0] + 0.0004))
    assert pacing.seconds == pytest.approx(0.0256, rel=1e-3)


def test_a_slower_machine_sends_less_often(clock):
    assert pause_after(clock, cost=0.0003, streams=9) == pytest.approx(3 * 0.0256, rel=1e-3)


def test_one_slow_pulse_does_not_hold_up_all_others(clock):
    assert pause_after(clock, cost=0.01, streams=2, pulses=1) == pytest.approx(0.01)


def test_before_anything_was_sent_there_is_no_delay(clock):
    assert Pacing(lambda: 100).seconds == 0
