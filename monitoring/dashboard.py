# SPDX-License-Identifier: Apache-2.0
"""The panels and queries of the Grafana dashboard's file, and the API of Prometheus that runs them."""

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
    """A query of a panel. expression: with Grafana's variables. legend: the template of its lines' names."""

    expression: str
    legend: str

    def for_prometheus(self, interval: str) -> str:
        """Return the expression for all servers, with rates over `interval` (as 30s)."""
        return self.expression.replace("$server", ".*").replace("$__rate_interval", interval)

    def name(self, labels: dict[str, str]) -> str:
        """Return the name of a line with these labels."""
        text = self.legend
        for label, value in labels.items():
            text = text.replace("{{" + label + "}}", value)
        return text


@dataclass(frozen=True)
class Panel:
    """A panel. at: x, y, width and height in Grafana's grid."""

    title: str
    kind: str
    unit: str
    at: tuple[int, int, int, int]
    queries: tuple[Query, ...]


def read_panels(path: Path = DASHBOARD) -> list[Panel]:
    """Return all panels, without the headings of rows."""
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


def query_prometheus(url: str, path: str, **parameters: object) -> Any:
    """Return the data of Prometheus' response to /api/v1/`path`. Raises OSError when there is none."""
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}") as answer:
        return json.load(answer)["data"]
