# SPDX-License-Identifier: Apache-2.0
"""The Grafana dashboard as its file has it, and what its queries give when Prometheus is asked them."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DASHBOARD = HERE / "grafana/dashboards/llm-ensemble.json"


@dataclass(frozen=True)
class Query:
    """One of a panel's: the expression as Grafana has it, and what its lines are called."""

    expression: str
    legend: str

    def for_prometheus(self, interval: str) -> str:
        """With Grafana's variables filled in: every server, rates over `interval` (as 30s)."""
        return self.expression.replace("$server", ".*").replace("$__rate_interval", interval)

    def name(self, labels: dict[str, str]) -> str:
        """The legend of a line with these labels."""
        text = self.legend
        for label, value in labels.items():
            text = text.replace("{{" + label + "}}", value)
        return text


@dataclass(frozen=True)
class Panel:
    """A panel; at: x, y, width and height, as Grafana counts them."""

    title: str
    kind: str
    unit: str
    at: tuple[int, int, int, int]
    queries: tuple[Query, ...]


def read_panels(path: Path = DASHBOARD) -> list[Panel]:
    """All panels but the rows' headings."""
    return [
        Panel(
            panel["title"],
            panel["type"],
            panel["fieldConfig"]["defaults"]["unit"],
            tuple(panel["gridPos"][side] for side in "xywh"),
            tuple(Query(target["expr"], target["legendFormat"]) for target in panel["targets"]),
        )
        for panel in json.loads(path.read_text())["panels"]
        if panel["type"] != "row"
    ]


def ask(url: str, path: str, **parameters: object) -> Any:
    """The data of an answer of Prometheus; raises OSError when it gives none."""
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}") as answer:
        return json.load(answer)["data"]
