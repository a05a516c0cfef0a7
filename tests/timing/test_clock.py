# SPDX-License-Identifier: Apache-2.0
"""How near the metrics' times are to a client's clock."""

from tests.server.telemetry.test_metrics_clock import (
    INTERVAL,
    SLOTS,
    TTFT,
    paced,
    watch_at_once,
    within,
)

__all__ = ["paced"]

NEAR = 0.01  # seconds, in the mean of all requests


def error_of_mean(counted, name, expected):
    """Return how far a histogram's sum is from the expected values, per request."""
    return abs(counted.value(f"llm_{name}_seconds_sum") - sum(expected)) / len(expected)


def test_times_are_those_of_a_client_s_clock(paced):
    seen, counted = watch_at_once(paced, SLOTS)
    assert error_of_mean(counted, "time_to_first_token", [one.first - one.sent for one in seen]) <= NEAR
    assert error_of_mean(counted, "time_to_first_token", [TTFT] * SLOTS) <= NEAR
    assert error_of_mean(counted, "inter_token_latency", [sum(one.gaps) for one in seen]) <= NEAR
    assert error_of_mean(counted, "request_duration", [one.ended - one.sent for one in seen]) <= NEAR
    assert counted.value("llm_queue_seconds_sum") <= NEAR * SLOTS
    gaps = sum(len(one.gaps) for one in seen)
    assert within(counted, "llm_inter_token_latency_seconds", INTERVAL * 0.6, INTERVAL * 1.5) >= gaps * 0.9


def test_a_request_s_wait_for_a_slot_is_that_of_the_client(paced):
    seen, counted = watch_at_once(paced, SLOTS + 1)
    last = max(seen, key=lambda one: one.first)
    assert abs(counted.value("llm_queue_seconds_sum") - (last.first - last.sent - TTFT)) <= 0.1
