# SPDX-License-Identifier: Apache-2.0
"""LoRA adapters of the demo model for tests, and what transformers with PEFT generates with them."""

import json
from pathlib import Path

from tests.build_environment import run_in_build_environment

PROMPT = [0, 300, 400, 500, 600]  # of make.py, as in tests/engine


def make_adapters(folder: Path) -> None:
    """Make them in the build environment, which has PEFT (make.py)."""
    folder.mkdir()
    done = run_in_build_environment("tests/lora/make.py", folder)
    assert done.returncode == 0, done.stdout + done.stderr


class Lora:
    """A folder of make.py. adapters: for LORA_DIR. patterned: another one, with the adapter odd.

    names: of the adapters; "" is the model as it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.adapters, self.patterned = folder, folder / "adapters", folder / "patterned"
        expected = json.loads((folder / "expected.json").read_text())
        self.names = ["", *sorted(path.name for path in self.adapters.iterdir())]
        self.ids = {name: one["ids"] for name, one in expected.items()}
        self.log_probs = {name: one["log_probs"] for name, one in expected.items()}
