# SPDX-License-Identifier: Apache-2.0
"""How near the benchmark's figures are to the known pace of the pace engine."""

import pytest

from benchmarks.bench import __main__ as bench
from tests.server.telemetry.test_bench import (
    FIVE_PERCENT,
    INTERVAL_MS,
    STREAMS,
    TTFT_MS,
    deviations,
    paced,
    parse,
)

__all__ = ["paced"]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_figures_are_those_of_the_pace(paced, protocol):
    asked = parse(paced, "--mode", "both", "--concurrency", str(STREAMS), protocol=protocol)
    points = bench.measure(asked)["points"]
    assert [point["errors"] for point in points] == [0, 0]
    off = [deviations(point) for point in points]
    assert max(abs(part) for one in off for part in one.values()) <= FIVE_PERCENT, off


def test_the_ensemble_is_as_fast_as_the_raw_engine_where_the_pace_decides(paced, monkeypatch):
    monkeypatch.setenv("PACE_TTFT_MS", str(TTFT_MS))
    monkeypatch.setenv("PACE_INTERVAL_MS", str(INTERVAL_MS))
    asked = parse(paced, "--concurrency", "4", "--requests", "4", "--baseline", "engine")
    streamed = bench.measure(asked)["points"][-1]
    assert 0.8 < streamed["ratio"] < 1.2
