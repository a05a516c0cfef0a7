# SPDX-License-Identifier: Apache-2.0
"""A server that refuses twice and then answers is asked three times, and never again once text has come.

A tiny real server (refusing.py), because it must count; test_errors.py has the real one, full for a second.
"""

import time

import pytest

from client import Overloaded, Retry, TimedOut, Unreachable
from tests.client.refusing import SERVERS, Asked

QUICK = Retry(times=6, first=0.01)
CALLS = pytest.mark.parametrize("call", ["generate", "stream"])
HOW = pytest.mark.parametrize("how", ["words", "a lost connection"])


@CALLS
@HOW
def test_it_refuses_twice_and_then_answers(way, call, how):
    asked = Asked(2, how)
    with SERVERS[way.protocol](asked) as url:
        answer = getattr(way, call)(url, "x", client={"retries": QUICK})
    completion = answer if call == "generate" else answer[0].completion
    assert completion.text == "yes"
    assert asked.times == 3


@CALLS
def test_false_asks_once(way, call):
    asked = Asked(2, "words")
    with SERVERS[way.protocol](asked) as url, pytest.raises(Overloaded):
        getattr(way, call)(url, "x", client={"retries": False})
    assert asked.times == 1


@CALLS
def test_it_gives_up_after_so_many_times(way, call):
    asked = Asked(99, "words")
    with SERVERS[way.protocol](asked) as url, pytest.raises(Overloaded):
        getattr(way, call)(url, "x", client={"retries": Retry(times=3, first=0.01)})
    assert asked.times == 4


def test_it_gives_up_in_time(way):
    asked = Asked(99, "words")
    with SERVERS[way.protocol](asked) as url:
        started = time.monotonic()
        with pytest.raises((Overloaded, TimedOut)):
            way.generate(url, "x", client={"timeout": 0.5, "retries": Retry(times=99, first=0.1)})
    assert time.monotonic() - started < 1


def test_nothing_is_asked_again_once_text_has_come(way):
    asked = Asked(1, "after a piece")
    with SERVERS[way.protocol](asked) as url, pytest.raises(Unreachable):
        way.stream(url, "x", client={"retries": QUICK})
    assert asked.times == 1
