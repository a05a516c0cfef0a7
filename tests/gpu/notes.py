# SPDX-License-Identifier: Apache-2.0
"""What the tests on a GPU see beside passing or failing: times, counts, memory, in one JSON file."""

import json
import os
import subprocess
from pathlib import Path

FOLDER = Path(os.environ.get("GPU_RESULTS", "build/gpu-results")).absolute()
FILE = FOLDER / "seen.json"
CRASH = ("Segmentation fault", "Signal (11)", "Signal (6)", "core dumped", "Stub::~Stub")


def note(name, value):
    """Write a figure down; round floats."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    seen = json.loads(FILE.read_text()) if FILE.exists() else {}
    seen[name] = round(value, 3) if isinstance(value, float) else value
    FILE.write_text(json.dumps(seen, indent=1) + "\n")


def gpu_memory():
    """Return the mebibytes in use on each GPU; an empty list where there is no nvidia-smi."""
    query = ("nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits")
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [int(line) for line in done.stdout.split()]


def crashes(log):
    """Return the lines of a log that tell of a process that crashed."""
    return [line for line in log.splitlines() if any(word in line for word in CRASH)]
