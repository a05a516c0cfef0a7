# SPDX-License-Identifier: Apache-2.0
"""Draw the dashboard as a picture from Prometheus' data, for a document or where there is no Grafana.

python -m monitoring.picture --url http://localhost:9090 --minutes 5 --output dashboard.png
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from monitoring.dashboard import Panel, query_prometheus, read_panels

FACTORS = {"percentunit": (100, " %"), "bytes": (1e-9, " GB"), "s": (1, " s")}
ROOM_FOR_LEGEND = 1.35
COLORS = ("#5794f2", "#73bf69", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff")


def main() -> int:
    """Draw the picture; return 1 with one line on standard error when Prometheus or matplotlib is missing."""
    parser = argparse.ArgumentParser(description="Draw the dashboard's panels from Prometheus' data.")
    parser.add_argument("--url", default="http://localhost:9090", help="of Prometheus (default: %(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=30, help="time range up to now (default: %(default)g)"
    )
    parser.add_argument("--interval", default="30s", help="time range of rates (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("dashboard.png"), help="(default: %(default)s)")
    arguments = parser.parse_args()
    try:
        draw(arguments.url, arguments.minutes, arguments.interval, arguments.output)
    except (OSError, ImportError) as error:
        sys.stderr.write(f"picture: {error}\n")
        return 1
    return 0


def draw(url: str, minutes: float, interval: str, output: Path) -> None:
    """Draw the panels that have data, each where Grafana would put it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [(panel, lines_of(url, panel, minutes, interval)) for panel in read_panels()]
    bottom = max(panel.at[1] + panel.at[3] for panel, lines in panels if lines)
    figure = pyplot.figure(figsize=(14, 0.27 * bottom), dpi=75)
    for panel, lines in panels:
        x, y, width, height = panel.at
        if lines:
            area = (
                (x + 0.9) / 24,
                1 - (y + height - 1.1) / bottom,
                (width - 1.5) / 24,
                (height - 2.3) / bottom,
            )
            axes = figure.add_axes(area)
            axes.set_title(panel.title, fontsize=9, loc="left", pad=3)
            (draw_number if panel.kind == "stat" else draw_lines)(axes, panel, lines)
    figure.savefig(output, pil_kwargs={"optimize": True})


def lines_of(
    url: str, panel: Panel, minutes: float, interval: str
) -> dict[str, tuple[list[float], list[float]]]:
    """Return the panel's lines by name: times in minutes relative to now, and values."""
    now = time.time()
    lines = {}
    for query in panel.queries:
        times = {"start": now - minutes * 60, "end": now, "step": max(1.0, minutes * 60 / 300)}
        data = query_prometheus(url, "query_range", query=query.for_prometheus(interval), **times)
        for series in data["result"]:
            points = [((at - now) / 60, float(value)) for at, value in series["values"] if value != "NaN"]
            if points:
                lines[query.name(series["metric"])] = (
                    [at for at, _ in points],
                    [value for _, value in points],
                )
    return lines


def draw_number(axes: Any, panel: Panel, lines: dict[str, tuple[list[float], list[float]]]) -> None:
    """Write the newest value; of an information metric its labels."""
    factor, unit = FACTORS.get(panel.unit, (1, ""))
    axes.set_axis_off()
    for name, (_, values) in lines.items():
        text = name if panel.title == "Engine" else f"{values[-1] * factor:.3g}{unit}"
        axes.text(0, 0.4, text, fontsize=10 if panel.title == "Engine" else 18, color=COLORS[1], va="center")


def draw_lines(axes: Any, panel: Panel, lines: dict[str, tuple[list[float], list[float]]]) -> None:
    """Draw lines over time in minutes."""
    factor, unit = FACTORS.get(panel.unit, (1, ""))
    for (name, (at, values)), color in zip(lines.items(), COLORS * 2):
        axes.plot(at, [value * factor for value in values], label=name, color=color, linewidth=1.2)
    axes.set_ylim(0, ROOM_FOR_LEGEND * max(axes.get_ylim()[1], 1e-3))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}{unit}")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} min" if value else "now")
    axes.tick_params(labelsize=7, length=2)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False, loc="upper left", ncols=3, borderpad=0.1)


if __name__ == "__main__":
    sys.exit(main())
