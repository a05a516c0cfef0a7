# SPDX-License-Identifier: Apache-2.0
"""From the rows' result files to one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.gpu.rows import ROWS

SHOWN = ("output_tokens_per_second", "server_cpu_us_per_token", "tokens_per_response", "errors")
RATIOS = ("ratio", "ttft_ratio", "itl_ratio", "cpu_ratio")
HEADINGS = (
    "row",
    "load",
    "mode",
    "tokens/s",
    "theirs",
    "ratio",
    "TTFT",
    "TTFT ratio",
    "us/tok",
    "CPU ratio",
    "errors",
)


def summary(results: Path, gpus: list[str], notes: dict[str, object]) -> dict[str, Any]:
    """Return what all rows have given so far, the machine, and what happened on the way."""
    found: dict[str, Any] = {"gpus": gpus, "notes": notes, "points": []}
    for row in ROWS:
        path = results / f"{row.name}.json"
        if path.exists():
            result = json.loads(path.read_bytes())
            found |= {"machine": result["machine"], "versions": result["versions"]}
            found["points"] += [{"row": row.name, **_short(point)} for point in _pairs(result["points"])]
    return found


def _pairs(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the points of this project's server, each with its baseline's."""
    found = []
    for point in points:
        if "ratio" not in point:
            continue
        theirs = [
            one for one in points if one["load"] == point["load"] and "ratio" not in one and one is not point
        ]
        same = [one for one in theirs if one["streamed"] == point["streamed"]] or theirs
        found.append({**point, "theirs": same[0]})
    return found


def _short(point: dict[str, Any]) -> dict[str, Any]:
    found = {name: point[name] for name in ("load", "streamed", *SHOWN, "ttft_ms", "itl_ms", *RATIOS)}
    theirs = point["theirs"]
    return {**found, "theirs": {name: theirs[name] for name in (*SHOWN, "ttft_ms", "itl_ms")}}


def table(found: dict[str, Any]) -> str:
    """Return the table for people, and the notes."""
    rows = [HEADINGS, *(_row(point) for point in found["points"])]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows]
    notes = [f"{name}: {note}" for name, note in found["notes"].items()]
    return "\n".join([*lines, "", *notes]) + "\n"


def _row(point: dict[str, Any]) -> tuple[str, ...]:
    theirs = point["theirs"]
    ttft = point["ttft_ms"]["p50"] if point["ttft_ms"] else None
    return (
        point["row"],
        str(point["load"]),
        "streamed" if point["streamed"] else "plain",
        f"{point['output_tokens_per_second']:.0f}",
        f"{theirs['output_tokens_per_second']:.0f}",
        _number(point["ratio"], 2),
        _number(ttft, 0),
        _number(point["ttft_ratio"], 2),
        _number(point["server_cpu_us_per_token"], 0),
        _number(point["cpu_ratio"], 2),
        f"{point['errors']}/{theirs['errors']}",
    )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
