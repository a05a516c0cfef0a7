# SPDX-License-Identifier: Apache-2.0
"""Frontends in front of the real tritonserver, whose model has a chat template."""

import pytest

from tests.openai.frontend import TEMPLATE, frontend_of
from tests.server.conftest import STEP_SECONDS, with_chat_template, with_limits


@pytest.fixture(scope="session")
def chat_engine(demo_engine, tmp_path_factory):
    """The demo engine with a chat template."""
    return with_chat_template(demo_engine, tmp_path_factory.mktemp("chat") / "engine", TEMPLATE)


@pytest.fixture(scope="session")
def frontend(chat_engine, tmp_path_factory):
    """A frontend of a server at full speed."""
    with frontend_of(chat_engine, tmp_path_factory.mktemp("frontend")) as frontend:
        yield frontend


@pytest.fixture(scope="session")
def plain_frontend(demo_engine, tmp_path_factory):
    """A frontend of a model without a chat template."""
    with frontend_of(demo_engine, tmp_path_factory.mktemp("plain")) as frontend:
        yield frontend


@pytest.fixture(scope="session")
def slow_server(chat_engine, tmp_path_factory):
    """A frontend of a server where 4 sequences run, 4 wait, and a step takes 20 ms."""
    engine = with_limits(chat_engine, tmp_path_factory.mktemp("tight") / "engine", max_batch_size=4)
    folder = tmp_path_factory.mktemp("slow")
    with frontend_of(engine, folder, MAX_WAITING=4, TAP_STEP_SECONDS=STEP_SECONDS) as frontend:
        yield frontend


@pytest.fixture
def slow(slow_server):
    """The slow one without open requests, before and after the test."""
    slow_server.tapped.wait(slow_server.tapped.is_empty)
    yield slow_server
    slow_server.tapped.wait(slow_server.tapped.is_empty)


@pytest.fixture
def client(frontend):
    """OpenAI's client."""
    return frontend.openai()


@pytest.fixture
def ensemble(frontend):
    """This project's client of the server behind the frontend."""
    return frontend.ensemble()
