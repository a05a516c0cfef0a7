# SPDX-License-Identifier: Apache-2.0
"""Throughput against latency, a line a target, as a PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.bench.record import BenchError

SIZE_INCHES = (7.2, 4.4)
DOTS_PER_INCH = 110


def draw(path: Path, result: dict[str, Any]) -> None:
    """Draw a result's points. Raises BenchError without matplotlib."""
    try:
        import matplotlib
    except ImportError as error:
        raise BenchError("--picture needs matplotlib: pip install 'llm-ensemble[bench]'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    settings = result["settings"]
    figure, axes = pyplot.subplots(figsize=SIZE_INCHES, layout="constrained")
    for target in dict.fromkeys(point["target"] for point in result["points"]):
        _line(axes, [p for p in result["points"] if p["target"] == target and p["e2e_ms"]], target)
    what = f"{settings['input_tokens']} tokens in" if not settings["prompts"] else "given prompts"
    title = settings["title"] or "Throughput against latency"
    axes.set_title(f"{title}\n{what}, {settings['output_tokens']} out; upper left is better", fontsize=10)
    axes.set_xlabel("time for a whole answer in seconds: median, line to the 90th percentile")
    axes.set_ylabel("output tokens a second, all requests together")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    unit = "requests a second" if settings["rate"] else "requests at a time"
    axes.legend(title=f"numbers: {unit}", fontsize=9, title_fontsize=8, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS_PER_INCH)
    pyplot.close(figure)


def _line(axes: Any, points: list[dict[str, Any]], name: str) -> None:
    x = [point["e2e_ms"]["p50"] / 1000 for point in points]
    y = [point["output_tokens_per_second"] for point in points]
    (line,) = axes.plot(x, y, marker="o", label=name)
    late = [max(0.0, point["e2e_ms"]["p90"] / 1000 - median) for point, median in zip(points, x)]
    axes.errorbar(x, y, xerr=[[0.0] * len(x), late], fmt="none", ecolor=line.get_color(), alpha=0.5)
    for point, at in zip(points, zip(x, y)):
        axes.annotate(
            point["load"], at, textcoords="offset points", xytext=(5, -11), fontsize=8, color=line.get_color()
        )
