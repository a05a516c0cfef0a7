# SPDX-License-Identifier: Apache-2.0
"""Dashboards, alerts and documents name metrics that exist."""

import re
import subprocess

import pytest

from llm_ensemble.telemetry import names
from openai_frontend.telemetry import metrics as frontend
from serving.tritonserver import ROOT

OF_FRONTEND = {value for value in vars(frontend).values() if str(value).startswith("llm_openai_")}
DECLARED = {value for key, value in vars(names).items() if key.isupper()} | OF_FRONTEND
NAME = re.compile(r"\bllm_(?!ensemble)[a-z_]+")
SUFFIX = re.compile(r"_(bucket|sum|count)$")
FILES = subprocess.run(
    ["git", "ls-files", "monitoring", "docs/metrics.md"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
).stdout.split()


@pytest.mark.parametrize("file", [file for file in FILES if not file.endswith(".png")])
def test_every_name_is_declared(file):
    found = {SUFFIX.sub("", name) for name in NAME.findall((ROOT / file).read_text())}
    assert found <= DECLARED


def test_every_metric_is_documented():
    text = (ROOT / "docs/metrics.md").read_text()
    assert {name for name in DECLARED if name not in text} == set()
