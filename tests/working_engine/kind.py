# SPDX-License-Identifier: Apache-2.0
"""The pace engine with a process beside it that works without a break, as an engine's workers do."""

import dataclasses
import multiprocessing

from benchmarks.pace.kind import KIND as PACE

NAME = "tests.working_engine"


def load(*arguments):
    multiprocessing.get_context("spawn").Process(target=work, daemon=True).start()
    return PACE.load(*arguments)


def work():
    while True:
        pass


KIND = dataclasses.replace(PACE, name=NAME, load=load)
