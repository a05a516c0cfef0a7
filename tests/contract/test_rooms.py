# SPDX-License-Identifier: Apache-2.0
"""The rooms: no folder too full, no import cycle, no import from a lower package of a higher one."""

import subprocess
import sys
from pathlib import Path

from serving.tritonserver import ROOT

MAX_MODULES = 15


def tracked_modules():
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [Path(line) for line in listed.stdout.splitlines()]


def test_no_folder_has_more_than_15_modules():
    modules = [path for path in tracked_modules() if path.name != "__init__.py"]
    counts = {
        folder: sum(path.parent == folder for path in modules) for folder in {p.parent for p in modules}
    }
    assert {folder: count for folder, count in counts.items() if count > MAX_MODULES} == {}


def test_the_import_contracts_hold():
    """Layers and cycles: [tool.importlinter] in pyproject.toml."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"]
    done = subprocess.run([*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "3 kept, 0 broken" in done.stdout
