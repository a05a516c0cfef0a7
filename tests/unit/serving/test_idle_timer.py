# SPDX-License-Identifier: Apache-2.0
"""For how long a server has had no request in flight, by its metrics."""

import pytest

from serving import draining
from serving.draining import IdleTimer


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets: clock[0] is now."""
    now = [100.0]
    monkeypatch.setattr(draining.time, "monotonic", lambda: now[0])
    return now


def metrics(*, successes=5, running=0, waiting=0, instances=1):
    lines = [f'nv_inference_request_success{{model="ensemble",version="1"}} {successes}']
    for i in range(instances):
        lines.append(f'llm_requests_running{{instance="{i}"}} {running * i}')
        lines.append(f'llm_requests_waiting{{instance="{i}"}} {waiting * i}')
    return "\n".join(["# TYPE llm_requests_running gauge", *lines, "nv_cpu_utilization 0.3"]) + "\n"


def test_a_server_whose_counters_stand_still_with_no_open_request_is_idle(clock):
    idle = IdleTimer()
    assert idle.update(metrics()) == 0
    clock[0] += 4
    assert idle.update(metrics()) == 4


def test_a_server_that_unloaded_its_engine_is_idle(clock):
    idle = IdleTimer()
    idle.update("nv_cpu_utilization 0.1\n")
    clock[0] += 4
    assert idle.update("nv_cpu_utilization 0.2\n") == 4


@pytest.mark.parametrize(
    "busy", [metrics(successes=6), metrics(running=1, instances=2), metrics(waiting=3, instances=2), ""]
)
def test_a_response_an_open_request_of_any_instance_or_unread_metrics_end_idleness(clock, busy):
    idle = IdleTimer()
    idle.update(metrics())
    clock[0] += 4
    assert idle.update(busy) == 0
