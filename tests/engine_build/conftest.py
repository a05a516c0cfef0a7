# SPDX-License-Identifier: Apache-2.0
"""Checkpoints and engines, made once for all tests of this folder."""

import dataclasses
import json
from pathlib import Path

import pytest

from tests.build_environment import HERE, run_in_build_environment

JOBS = (
    *(
        f"{family}:fp16"
        for family in ("opt", "llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3")
    ),
    "opt:fp32",
    "opt:int8",
    "opt:int4",
    "garbling:int8",
)


@pytest.fixture(scope="session")
def build():
    """The command line: build(model=..., output=..., precision=...) runs it to its end; True: a bare flag."""

    def run(*, env=None, **options):
        flags = [
            text
            for name, value in options.items()
            for text in (f"--{name.replace('_', '-')}", *(() if value is True else (str(value),)))
        ]
        return run_in_build_environment("-m", "build_scripts.build", *flags, env=env or {})

    return run


@dataclasses.dataclass(frozen=True)
class Built:
    """Every family's checkpoint and engines; `reference(family)` is what transformers made of it."""

    checkpoints: Path
    engines: Path

    def engine(self, family: str, precision: str = "fp16") -> Path:
        return self.engines / f"{family}-{precision}"

    def refusal(self, family: str, precision: str) -> str:
        return self.engine(family, precision).with_suffix(".txt").read_text()

    def reference(self, family: str) -> dict:
        return json.loads((self.checkpoints / f"{family}.json").read_bytes())


@pytest.fixture(scope="session")
def checkpoints(made_once) -> Path:
    def make(folder):
        folder.mkdir()
        made = run_in_build_environment(HERE / "make_checkpoints.py", folder)
        assert made.returncode == 0, made.stderr

    return made_once("checkpoints", make)


@pytest.fixture(scope="session")
def built(checkpoints, made_once) -> Built:
    def make(folder):
        folder.mkdir()
        builds = run_in_build_environment(HERE / "build_many.py", checkpoints, folder, *JOBS)
        assert builds.returncode == 0, builds.stdout + builds.stderr

    return Built(checkpoints, made_once("built", make))
