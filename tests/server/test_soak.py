# SPDX-License-Identifier: Apache-2.0
"""The short form of `make soak`."""

import pytest

from tests.soak import soak


@pytest.mark.timeout(300)
def test_of_many_requests_with_a_third_left_all_end_and_nothing_stays(tapped):
    wrong, ends = soak(tapped, requests=2500)
    assert wrong == []
    assert min(ends["ended"], ends["left"], ends["refused"]) > 100
