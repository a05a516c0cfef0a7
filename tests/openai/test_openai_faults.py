# SPDX-License-Identifier: Apache-2.0
"""The engine fails, or tritonserver is gone, while requests run: each ends with an error, and says which."""

import signal

import pytest

from tests.openai.frontend import MODEL, PROMPT, Answer, frontend_of
from tests.server.conftest import STEP_SECONDS

LONG = {"model": MODEL, "prompt": PROMPT, "max_tokens": 400, "ignore_eos": True}


@pytest.fixture
def mortal(chat_engine, tmp_path):
    """A frontend of a server of its own, where a step takes 20 ms."""
    with frontend_of(chat_engine, tmp_path, TAP_STEP_SECONDS=STEP_SECONDS) as frontend:
        yield frontend


def begun(frontend):
    """Begin a stream and a request that is not streamed; return their connections when both run."""
    stream = frontend.begin("/v1/completions", {**LONG, "stream": True})
    plain = frontend.begin("/v1/completions", LONG)
    frontend.tapped.wait(lambda: frontend.tapped.state["running"] == 2)
    answer = stream.getresponse()
    assert answer.status == 200
    answer.readline()
    return answer, plain


def ended(frontend, answer, plain):
    """Read both to their end; return the last event's error, and the other's status and error."""
    *_, last = Answer(200, {}, answer.read()).events
    other = plain.getresponse()
    return last["error"], other.status, Answer(other.status, {}, other.read()).error


def test_an_engine_that_fails(mortal):
    answer, plain = begun(mortal)
    killer = mortal.begin("/v1/completions", {**LONG, "stream": True}, **{"X-Request-Id": "die"})
    last, status, error = ended(mortal, answer, plain)
    killer.close()
    assert (last["type"], status, error["type"]) == ("server_error", 500, "server_error")
    assert "log" in last["message"]
    assert "told to die" not in last["message"] + error["message"]


def test_a_tritonserver_that_is_gone(mortal):
    answer, plain = begun(mortal)
    process = mortal.tapped.server.process
    process.send_signal(signal.SIGKILL)
    process.wait()
    last, status, error = ended(mortal, answer, plain)
    assert (last["code"], status, error["code"]) == ("unavailable", 503, "unavailable")
    for answer in (mortal.send("/health"), mortal.complete(), mortal.complete(stream=True)):
        assert (answer.status, answer.error["code"]) == (503, "unavailable")
    assert mortal.send("/version").status == 200
