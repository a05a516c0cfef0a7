# SPDX-License-Identifier: Apache-2.0
"""Waiting for a condition that another thread or process brings about."""

import time

SECONDS = 60  # far more than anything takes, also where other processes have all cores


def wait_for(condition, seconds=SECONDS):
    """Return once a condition holds; fail after so many seconds."""
    deadline, pause = time.monotonic() + seconds, 0.002
    while not condition():  # asked once: it may hold for a moment only
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)  # what is waited for needs the processor more
