# SPDX-License-Identifier: Apache-2.0
"""Retries against a small server that counts requests (refusing.py).

test_errors.py has those against tritonserver.
"""

import pytest

from llm_ensemble_client import Overloaded, Retry, TimedOut, Unreachable
from tests.client.refusing import SERVERS, Asked

QUICK = Retry(times=6, first=0.01)
CALLS = pytest.mark.parametrize("call", ["generate", "stream"])
HOW = pytest.mark.parametrize("how", ["words", "a lost connection"])


@CALLS
@HOW
def test_a_call_is_retried_until_it_succeeds(way, call, how):
    asked = Asked(2, how)
    with SERVERS[way.protocol](asked) as url:
        answer = getattr(way, call)(url, "x", client={"retries": QUICK})
    completion = answer if call == "generate" else answer[0].completion
    assert completion.text == "yes"
    assert asked.times == 3


@CALLS
def test_retries_false_sends_one_request(way, call):
    asked = Asked(2, "words")
    with SERVERS[way.protocol](asked) as url, pytest.raises(Overloaded):
        getattr(way, call)(url, "x", client={"retries": False})
    assert asked.times == 1


@CALLS
def test_retries_end_after_the_maximum(way, call):
    asked = Asked(99, "words")
    with SERVERS[way.protocol](asked) as url, pytest.raises(Overloaded):
        getattr(way, call)(url, "x", client={"retries": Retry(times=3, first=0.01)})
    assert asked.times == 4


def test_retries_end_at_the_timeout(way):
    asked = Asked(99, "words")
    with SERVERS[way.protocol](asked) as url, pytest.raises((Overloaded, TimedOut)):
        way.generate(url, "x", client={"timeout": 0.5, "retries": Retry(times=99, first=0.1)})
    assert asked.times < 99


def test_no_retry_after_text_has_arrived(way):
    asked = Asked(1, "after a piece")
    with SERVERS[way.protocol](asked) as url, pytest.raises(Unreachable):
        way.stream(url, "x", client={"retries": QUICK}, on_piece=lambda _: asked.has_piece.set())
    assert asked.times == 1


def test_a_stream_is_retried_after_empty_responses(way):
    asked = Asked(2, "after empty responses")
    with SERVERS[way.protocol](asked) as url:
        stream, pieces = way.stream(url, "x", client={"retries": QUICK})
    assert pieces == ["yes"]
    assert (stream.completion.text, stream.completion.num_output_tokens, asked.times) == ("yes", 1, 3)
