# SPDX-License-Identifier: Apache-2.0
"""The short form of `make load`."""

from tests.load import load


def test_500_streams_at_once_are_whole(tmp_path):
    wrong, whole = load(tmp_path, streams=500, seconds=10)
    assert wrong == []
    assert whole >= 500
