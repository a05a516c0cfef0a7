# SPDX-License-Identifier: Apache-2.0
"""From records to what the field reports.

- time to first token (TTFT): from sending a request to the first response that has tokens. Of streams only.
- inter-token latency (ITL): from a response to the next one, divided by the tokens of the latter and counted
  once for each of them, since several tokens may travel in one response. Its mean is (last response - first
  response) / tokens after the first response: what others call time per output token. Of streams only.
- end-to-end latency (E2E): from sending a request to its last response.

Percentiles are linear between neighbours, as numpy's. A request that failed, or gave another number of tokens
than asked for, is an error and in no latency; its tokens are in no throughput.
"""

from __future__ import annotations

import collections
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.bench.record import Record

PERCENTILES = (50, 90, 99)


@dataclass
class Run:
    """One measured run of one target under one load.

    seconds: from the first request sent to the last response. client_cpu: seconds of CPU that the asking
    processes took; client_cpu_most: of the busiest. server_cpu: of all the server's, None where not seen.
    machine_cpu: of everything on this machine meanwhile.
    """

    records: list[Record]
    client_cpu: float = 0.0
    client_cpu_most: float = 0.0
    server_cpu: float | None = None
    machine_cpu: float | None = None
    good: list[Record] = field(init=False)

    def __post_init__(self) -> None:
        self.good = [record for record in self.records if not record.error]

    @property
    def seconds(self) -> float:
        """How long it took."""
        return max(r.ended for r in self.records) - min(r.started for r in self.records)

    @property
    def tokens(self) -> int:
        """Output tokens of the requests that went well."""
        return sum(record.tokens for record in self.good)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile, interpolated linearly."""
    return float(np.percentile(np.asarray(values, dtype=float), percent))


def distribution(seconds: Sequence[float]) -> dict[str, float] | None:
    """Return mean and percentiles in milliseconds; None for no values."""
    if not seconds:
        return None
    cuts = {f"p{percent}": round(percentile(seconds, percent) * 1000, 3) for percent in PERCENTILES}
    return {"mean": round(statistics.fmean(seconds) * 1000, 3), **cuts}


def first_token_seconds(record: Record) -> float:
    """Return the time to first token."""
    return record.arrivals[0][0] - record.started


def inter_token_seconds(record: Record) -> list[float]:
    """Return a latency for each token after the first response."""
    latencies: list[float] = []
    for (before, _), (now, tokens) in zip(record.arrivals, record.arrivals[1:]):
        latencies += [(now - before) / tokens] * tokens
    return latencies


def summary(run: Run) -> dict[str, Any]:
    """Return the figures of one run."""
    seconds, tokens = run.seconds, run.tokens
    others = None
    if run.server_cpu is not None and run.machine_cpu is not None:
        others = round(max(0.0, run.machine_cpu - run.server_cpu - run.client_cpu) / seconds, 3)
    micros = None if run.server_cpu is None or not tokens else round(run.server_cpu / tokens * 1e6, 2)
    return {
        "seconds": round(seconds, 4),
        "requests": len(run.records),
        "errors": dict(collections.Counter(r.error for r in run.records if r.error)),
        "output_tokens": tokens,
        "output_tokens_per_second": round(tokens / seconds, 3),
        "requests_per_second": round(len(run.good) / seconds, 4),
        "input_tokens_mean": round(statistics.fmean([r.input_tokens for r in run.good] or [0]), 2),
        "tokens_per_response": round(tokens / max(1, sum(len(r.arrivals) for r in run.good)), 3),
        "client_cpu_share": round(run.client_cpu / seconds, 4),
        "client_cpu_share_of_busiest": round(run.client_cpu_most / seconds, 4),
        "server_cpu_us_per_token": micros,
        "others_cpu_share": others,
    }


def over_runs(runs: Sequence[Run], streamed: bool) -> dict[str, Any]:
    """Return the figures of all runs of a target under a load: medians of rates, all latencies together."""
    each = [summary(run) for run in runs]
    good = [record for run in runs for record in run.good]
    rates = [one["output_tokens_per_second"] for one in each]
    shown = {name: _median(each, name) for name in each[0] if name not in ("errors", "requests", "seconds")}
    return {
        **shown,
        "output_tokens_per_second_range": [min(rates), max(rates)],
        "errors": sum(len(run.records) - len(run.good) for run in runs),
        "ttft_ms": distribution([first_token_seconds(r) for r in good]) if streamed else None,
        "itl_ms": distribution([s for r in good for s in inter_token_seconds(r)]) if streamed else None,
        "e2e_ms": distribution([r.ended - r.started for r in good]),
        "runs": each,
    }


def _median(each: Sequence[dict[str, Any]], name: str) -> float | None:
    values = [one[name] for one in each if one[name] is not None]
    return statistics.median(values) if values else None


def ratio(runs: Sequence[Run], baseline: Sequence[Run]) -> float | None:
    """Return the throughput over the baseline's: the median over rounds, which run both close together."""
    pairs = [(run.tokens / run.seconds, other.tokens / other.seconds) for run, other in zip(runs, baseline)]
    ratios = [mine / theirs for mine, theirs in pairs if theirs]
    return round(statistics.median(ratios), 4) if ratios else None


def over_baseline(figures: dict[str, Any], theirs: dict[str, Any]) -> dict[str, float | None]:
    """Return server CPU a token, and the medians of both latencies of streams, over the baseline's."""
    median = {name: (_cut(figures[name]), _cut(theirs[name])) for name in ("ttft_ms", "itl_ms")}
    cpu = (figures["server_cpu_us_per_token"], theirs["server_cpu_us_per_token"])
    pairs = {"cpu_ratio": cpu, "ttft_ratio": median["ttft_ms"], "itl_ratio": median["itl_ms"]}
    return {name: round(ours / base, 4) if ours and base else None for name, (ours, base) in pairs.items()}


def _cut(distribution: dict[str, float] | None) -> float | None:
    return distribution["p50"] if distribution else None
