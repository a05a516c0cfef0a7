# SPDX-License-Identifier: Apache-2.0
"""The short form of `make load`."""

import math

from tests.load import load


def test_500_streams_at_once_are_whole(tmp_path):
    """Each lasts for 7 s at least, and the last must have begun by then; memory needs minutes to be flat."""
    wrong, whole = load(tmp_path, streams=500, seconds=5, interval_ms=700, max_growth=math.inf)
    assert wrong == []
    assert whole >= 500
