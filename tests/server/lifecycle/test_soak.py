# SPDX-License-Identifier: Apache-2.0
"""A short run of `make soak`."""

from tests.soak import soak


def test_of_many_requests_with_a_third_disconnected_all_end_and_none_is_left_behind(tapped):
    wrong, ends = soak(tapped, requests=2500)
    assert wrong == []
    assert min(ends["ended"], ends["disconnected"], ends["refused"]) > 100
