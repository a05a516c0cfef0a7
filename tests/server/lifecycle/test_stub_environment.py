# SPDX-License-Identifier: Apache-2.0
"""The allocator's settings reach tritonserver and none of its stubs, with every engine."""

import os
from pathlib import Path

from serving.health import find_stubs
from serving.server_environment import ALLOCATOR_VARIABLES, allocator_settings
from tests.conftest import EVERY_ENGINE
from tests.processes import STAGES

pytestmark = EVERY_ENGINE

NAMES = (*ALLOCATOR_VARIABLES, "LD_PRELOAD", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")


def memory_variables(pid):
    """The variables that concern memory, of those a process started with."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    environ = dict(pair.split("=", 1) for pair in pairs if pair)
    return {name: environ[name] for name in NAMES if name in environ}


def test_tritonserver_alone_gets_settings_of_the_allocator(server):
    own = {name: os.environ[name] for name in NAMES if name in os.environ}
    added = {name: value for name, value in allocator_settings(os.environ).items() if name in NAMES}
    assert memory_variables(server.process.pid) == own | added
    stubs = find_stubs(server.process.pid)
    assert {stub.stage for stub in stubs} == set(STAGES)
    assert [memory_variables(stub.pid) for stub in stubs] == [own] * len(stubs)
