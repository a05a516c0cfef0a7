# SPDX-License-Identifier: Apache-2.0
"""The figures as a table for people."""

from __future__ import annotations

from typing import Any

HEADINGS = (
    "load", "target", "tokens/s", "(range)", "req/s", "TTFT ms p50/p90/p99", "ITL ms p50/p90/p99",
    "E2E ms p50/p90/p99", "tok/resp", "errors", "client CPU", "server us/tok",
    "others' CPU", "ratio", "CPU ratio", "TTFT ratio", "ITL ratio",
)  # fmt: skip
NOTES = """\
TTFT: time to first token. ITL: inter-token latency, a response's gap divided by its tokens. E2E: end to end.
tok/resp: tokens that travel in one response. client CPU: cores that the asking processes used. server us/tok:
CPU of all the server's processes for each output token, the engine's work in it. ratio: tokens/s over the
baseline's, median of rounds that alternate. CPU, TTFT, ITL ratio: server us/tok, and the p50 of these
latencies, over the baseline's. others' CPU: cores that neither the server nor the asking processes used; what
they take is missing in the figures.
"""
BUSY = 0.8


def table(points: list[dict[str, Any]]) -> str:
    """Return all points as a table, and below it what the columns mean."""
    rows = [HEADINGS, *(_row(point) for point in points)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows]
    busy = [p for p in points if p["client_cpu_share_of_busiest"] > BUSY]
    warnings = [
        f"NOTE: {p['target']} at {p['load']}: an asking process took {p['client_cpu_share_of_busiest']:.0%} "
        "of a core, which shows in the latencies: lower --streams-per-process\n"
        for p in busy
    ]
    return "\n".join(lines) + "\n\n" + NOTES + "".join(warnings)


def _row(point: dict[str, Any]) -> tuple[str, ...]:
    low, high = point["output_tokens_per_second_range"]
    micros, others = point["server_cpu_us_per_token"], point["others_cpu_share"]
    ratios = (point.get(name) for name in ("ratio", "cpu_ratio", "ttft_ratio", "itl_ratio"))
    engine = point["kind"] == "engine"
    return (
        point["load"],
        point["target"],
        f"{point['output_tokens_per_second']:.1f}",
        f"({low:.0f}-{high:.0f})",
        f"{point['requests_per_second']:.2f}",
        _cuts(point["ttft_ms"]),
        _cuts(point["itl_ms"]),
        _cuts(point["e2e_ms"]),
        f"{point['tokens_per_response']:.2f}",
        str(point["errors"]),
        "-" if engine else f"{point['client_cpu_share']:.2f}",
        "-" if micros is None else f"{micros:.0f}",
        "-" if others is None else f"{others:.2f}",
        *("-" if ratio is None else f"{ratio:.3f}" for ratio in ratios),
    )


def _cuts(distribution: dict[str, float] | None) -> str:
    if not distribution:
        return "-"
    return "/".join(f"{distribution[name]:.4g}" if distribution[name] < 1000 else f"{distribution[name]:.0f}"
                    for name in ("p50", "p90", "p99"))  # fmt: skip
