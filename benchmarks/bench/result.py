# SPDX-License-Identifier: Apache-2.0
"""The result file: every figure, and all that is needed to get it again."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

SCHEMA = 1
PACKAGES = ("llm-ensemble", "tritonclient", "grpcio", "aiohttp", "numpy", "openvino-genai", "nvidia-pytriton")
MANIFEST = "manifest.json"


def describe(arguments: argparse.Namespace, server_version: str) -> dict[str, Any]:
    """Return the settings in effect, versions, the machine, and the engine's manifest if it is readable."""
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in sorted(vars(arguments).items())}
    folder = arguments.engine_dir or arguments.serve
    pace = {name: os.environ[name] for name in ("PACE_TTFT_MS", "PACE_INTERVAL_MS") if name in os.environ}
    return {
        "schema": SCHEMA,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "settings": {k: v for k, v in settings.items() if _is_plain(v)} | pace,
        "versions": {"server": server_version, "python": platform.python_version(), **_packages()},
        "machine": _machine(),
        "engine": _manifest(folder) if folder else None,
    }


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _machine() -> dict[str, Any]:
    """Load averages tell whether something else was running."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "system": platform.platform(),
        "cpu": names[0] if names else platform.processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "load_average_before": list(os.getloadavg()),
    }


def _manifest(folder: Path) -> Any:
    try:
        return json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None


def write(path: Path, result: dict[str, Any]) -> None:
    """Write the file, folders above it too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
