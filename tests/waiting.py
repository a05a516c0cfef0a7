# SPDX-License-Identifier: Apache-2.0
"""Waiting for a condition that another thread brings about."""

import time


def wait_for(condition):
    """Return once a condition holds; fail after five seconds."""
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    assert condition()
