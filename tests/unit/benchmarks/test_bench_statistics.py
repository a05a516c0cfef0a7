# SPDX-License-Identifier: Apache-2.0
import itertools
import statistics

import pytest

from benchmarks.bench.load import Load, moments, shares
from benchmarks.bench.record import Record, Request
from benchmarks.bench.statistics import (
    Run,
    distribution,
    first_token_seconds,
    inter_token_seconds,
    over_runs,
    percentile,
    ratio,
    summary,
)


def record(started, *arrivals, ended=None, error=""):
    return Record(started, [*arrivals], arrivals[-1][0] if ended is None else ended, 32, error)


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 3), (90, 4.6), (99, 4.96), (100, 5)])
def test_percentiles_are_linear_between_neighbours_whatever_the_order(percent, value):
    assert percentile([5, 1, 4, 2, 3], percent) == pytest.approx(value)


def test_a_distribution_is_in_milliseconds_and_of_nothing_none():
    hundred = [i / 1000 for i in range(1, 101)]
    assert distribution(hundred) == {"mean": 50.5, "p50": 50.5, "p90": 90.1, "p99": 99.01}
    assert distribution([]) is None


def test_the_first_token_s_time_is_from_sending():
    assert first_token_seconds(record(10.0, (10.4, 1), (10.5, 1))) == pytest.approx(0.4)


def test_tokens_of_one_response_share_its_gap_and_count_each():
    latencies = inter_token_seconds(record(0.0, (1.0, 1), (1.2, 1), (1.8, 3)))
    assert latencies == pytest.approx([0.2, 0.2, 0.2, 0.2])
    assert inter_token_seconds(record(0.0, (1.0, 1), (1.1, 1), (1.9, 2))) == pytest.approx([0.1, 0.4, 0.4])


def test_their_mean_is_the_time_after_the_first_response_over_the_tokens_after_it():
    one = record(0.0, (1.0, 2), (1.5, 1), (1.6, 4), (3.0, 2))
    assert statistics.fmean(inter_token_seconds(one)) == pytest.approx((3.0 - 1.0) / 7)


def test_one_response_has_no_inter_token_latency():
    assert inter_token_seconds(record(0.0, (1.0, 128))) == []


def test_throughput_is_over_the_time_from_the_first_request_to_the_last_response():
    run = Run([record(10.0, (11.0, 1), (12.0, 9)), record(10.5, (11.0, 5), (15.0, 5))], 1.0, 0.75, 0.04, 2.04)
    seen = summary(run)
    assert (seen["seconds"], seen["output_tokens"]) == (5.0, 20)
    assert (seen["output_tokens_per_second"], seen["requests_per_second"]) == (4.0, 0.4)
    assert (seen["client_cpu_share"], seen["client_cpu_share_of_busiest"]) == (0.2, 0.15)
    assert seen["server_cpu_us_per_token"] == 2000.0
    assert seen["others_cpu_share"] == 0.2
    assert seen["tokens_per_response"] == 5.0


def test_a_failed_request_counts_as_an_error_and_nowhere_else():
    run = Run([record(0.0, (1.0, 1), (2.0, 3)), record(0.0, (0.5, 2), ended=4.0, error="lost")])
    seen = over_runs([run], streamed=True)
    assert seen["errors"] == 1
    assert seen["runs"][0]["errors"] == {"lost": 1}
    assert seen["output_tokens_per_second"] == 1.0
    assert seen["ttft_ms"]["p99"] == 1000
    assert seen["server_cpu_us_per_token"] is None


def test_a_run_in_which_everything_failed_is_told_as_such():
    seen = over_runs([Run([Record(0.0, [], 1.0, 0, "refused")])], streamed=True)
    assert (seen["errors"], seen["output_tokens_per_second"], seen["e2e_ms"]) == (1, 0.0, None)


def test_plain_answers_have_no_latency_of_tokens():
    seen = over_runs([Run([record(0.0, (2.0, 10))])], streamed=False)
    assert (seen["ttft_ms"], seen["itl_ms"], seen["e2e_ms"]["p50"]) == (None, None, 2000)


def test_the_ratio_is_the_median_of_rounds_so_that_one_disturbed_round_does_not_decide():
    def run(seconds):
        return Run([record(0.0, (seconds, 100))])

    baseline = [run(1.0), run(10.0), run(2.0)]
    assert ratio([run(2.0), run(20.0), run(40.0)], baseline) == 0.5


def test_poisson_arrivals_have_the_rate_that_was_asked_for_and_the_seed_gives_them_again():
    times = moments(50.0, 20_000, seed=3)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert statistics.fmean(gaps) == pytest.approx(1 / 50, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(1 / 50, rel=0.03), "gaps of a Poisson process spread so"
    assert times[0] == 0
    assert times == moments(50.0, 20_000, seed=3) != moments(50.0, 20_000, seed=4)


@pytest.mark.parametrize("processes", [1, 3])
def test_a_load_is_dealt_out_whole(processes):
    requests = [Request(f"{i}", 8) for i in range(20)]
    dealt = shares(Load(concurrency=8), requests, requests[:8], processes, 0, 5)
    assert sorted(r.prompt for share in dealt for r in share.requests) == sorted(r.prompt for r in requests)
    assert sum(share.streams for share in dealt) == 8
    dealt = shares(Load(rate=5), requests, [], processes, 0, 5)
    assert sorted(m for share in dealt for m in share.moments) == moments(5, 20, 0)
