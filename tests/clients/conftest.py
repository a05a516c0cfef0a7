# SPDX-License-Identifier: Apache-2.0
"""The frontends that tests/openai asks, for the clients of others."""

import pytest

from tests.openai.conftest import chat_engine, ensemble, frontend, slow, slow_server
from tests.openai.frontend import MESSAGES, PROMPT

__all__ = ["chat_engine", "ensemble", "frontend", "slow", "slow_server"]

TOKENS = 12
NEXT = {"role": "user", "content": "Where?"}


@pytest.fixture
def url(frontend):
    return f"{frontend.url}/v1"


@pytest.fixture
def text(ensemble):
    """How the prompt goes on; greedily, 12 tokens."""
    return ensemble.generate(PROMPT, max_tokens=TOKENS).text


@pytest.fixture
def chat_text(ensemble):
    """How the conversation goes on; greedily, 12 tokens."""
    return ensemble.generate(messages=MESSAGES, max_tokens=TOKENS).text


@pytest.fixture
def second_chat_text(ensemble, chat_text):
    """How it goes on after that answer and the next question."""
    messages = [*MESSAGES, {"role": "assistant", "content": chat_text}, NEXT]
    return ensemble.generate(messages=messages, max_tokens=TOKENS).text
