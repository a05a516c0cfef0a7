# SPDX-License-Identifier: Apache-2.0
import pytest

from tests.server.conftest import with_limits


@pytest.fixture(scope="session")
def tight_engine(demo_engine, tmp_path_factory):
    """The demo engine with room for four sequences, so that a dozen clients are too many."""
    return with_limits(demo_engine, tmp_path_factory.mktemp("tight") / "engine", max_batch_size=4)
