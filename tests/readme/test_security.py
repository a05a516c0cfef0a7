# SPDX-License-Identifier: Apache-2.0
"""docs/security.md: each threat of its table has a test, and the test is there."""

import re

import pytest

from serving.tritonserver import ROOT

TABLE = (ROOT / "docs/security.md").read_text().partition("## Threats")[2]
ROWS = [
    [cell.strip() for cell in line.split("|")[1:-1]] for line in TABLE.splitlines() if line.startswith("| ")
][1:]
NAMED = sorted({name for *_, tests in ROWS for name in re.findall(r"`(tests/\S+)`", tests)})


def test_every_threat_has_a_test():
    assert len(ROWS) > 15
    assert [threat for threat, _, tests in ROWS if "`tests/" not in tests] == []


@pytest.mark.parametrize("name", NAMED)
def test_each_test_is_there(name):
    path, _, function = name.partition("::")
    source = (ROOT / path).read_text()
    assert not function or re.search(rf"^def {function}\(", source, re.MULTILINE)
