# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that a machine with a GPU runs (make gpu-test); no other run collects them.

TESTED_ENGINE_DIR is an engine directory of the demo model, LONG_ENGINE_DIR one of a model with room for long
texts. Without a GPU vLLM's CPU build will do, slowly.
"""

import os
import time
from pathlib import Path

import pytest

from tests.gpu.notes import note
from tests.server.conftest import tapped_server

WAITING = 64  # MAX_WAITING of the tapped server


@pytest.fixture(scope="session")
def long_engine():
    return Path(os.environ["LONG_ENGINE_DIR"])


@pytest.fixture(scope="session")
def long_tokens():
    """Tokens of a text that lasts for seconds."""
    return int(os.environ.get("LONG_TOKENS", "1900"))


@pytest.fixture(scope="module")
def loaded(long_engine, tmp_path_factory):
    """A tapped server with the long model."""
    began = time.monotonic()
    with tapped_server(long_engine, tmp_path_factory.mktemp("loaded"), MAX_WAITING=WAITING) as tapped:
        note("tapped server: seconds to ready", time.monotonic() - began)
        yield tapped
