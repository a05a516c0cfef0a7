# SPDX-License-Identifier: Apache-2.0
"""How long a rejection takes."""

import time

from tests.asking import post
from tests.server.conftest import quiet, slow, tight
from tests.server.text.test_load import ASKED, eight_requests

__all__ = ["quiet", "slow", "tight"]


def test_a_refusal_takes_no_more_than_50_ms(quiet):
    """The best of ten: a rejection does not queue."""
    with eight_requests(quiet):
        times = []
        for _ in range(10):
            started = time.monotonic()
            assert post(quiet.server, "generate", ASKED)[0] == 400
            times.append(time.monotonic() - started)
        assert min(times) < 0.05
