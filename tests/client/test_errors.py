# SPDX-License-Identifier: Apache-2.0
"""Every class of error, by the real server, over all four ways, plain and streamed."""

import os
import signal
import socket
import threading
import time

import pytest

from llm_ensemble_client import Client, InvalidRequest, Overloaded, Retry, ServerError, TimedOut, Unreachable
from serving.tritonserver import free_ports
from tests.asking import GrpcStream
from tests.processes import descendants
from tests.server.conftest import tapped_server

PROMPT = "The package manager"
ASKED = {"max_tokens": 500, "ignore_eos": True}
CALLS = pytest.mark.parametrize("call", ["generate", "stream"])
ONCE = {"retries": False}


@CALLS
@pytest.mark.parametrize(
    ("field", "value"),
    [("max_tokens", 0), ("temperature", -1.0), ("min_tokens", -5), ("presence_penalty", 1.0)],
)
def test_an_invalid_field_raises_invalid_request(way, server, call, field, value):
    with pytest.raises(InvalidRequest, match=f"^{field}: ") as caught:
        getattr(way, call)(server, PROMPT, **{field: value})
    assert caught.value.field == field


@CALLS
def test_a_model_without_a_chat_template(way, server, call):
    with pytest.raises(InvalidRequest, match="^messages: .*chat template") as caught:
        getattr(way, call)(server, messages=[{"role": "user", "content": "Hello"}])
    assert caught.value.field == "messages"


@CALLS
def test_a_full_server_raises_overloaded(way, quiet, call):
    with Full(quiet), pytest.raises(Overloaded, match="^Exceeds maximum queue size: 4 running, 4 waiting"):
        getattr(way, call)(quiet.server, PROMPT, client=ONCE, **ASKED)


@CALLS
def test_retries_wait_for_a_full_server(way, quiet, call):
    """Rejected at least twice: the first pauses are at most 0.2 and 0.4 s, and it is full for a second."""
    with Full(quiet, seconds=1.0) as full:
        assert getattr(way, call)(quiet.server, PROMPT, max_tokens=3)
        assert full.over.is_set(), "it was served while the server was full"


@CALLS
def test_a_closed_port_raises_unreachable(way, call):
    port = free_ports().http
    with pytest.raises(Unreachable, match=str(port)):
        getattr(way, call)(f"{way.protocol}://127.0.0.1:{port}", PROMPT, client=ONCE)


@CALLS
def test_a_server_that_never_responds_raises_timed_out(way, call):
    with socket.create_server(("127.0.0.1", 0)) as hung:
        url = f"{way.protocol}://127.0.0.1:{hung.getsockname()[1]}"
        retries = {"retries": Retry(times=100, first=0.5, longest=0.5)}
        started = time.monotonic()
        with pytest.raises(TimedOut, match="within 0.7 s"):
            getattr(way, call)(url, PROMPT, client={"timeout": 0.7, **retries})
        assert time.monotonic() - started < 30, "each try has had the timeout: that takes two minutes"


@pytest.fixture
def doomed(tight, tmp_path):
    """A tapped server for one test, to stop and to kill."""
    with tapped_server(tight, tmp_path, TAP_STEP_SECONDS=0.05) as doomed:
        yield doomed


def test_a_server_that_hangs_and_one_that_is_killed(way, doomed):
    assert pulled(way, doomed, "hang") == TimedOut
    assert pulled(way, doomed, "kill") == Unreachable


def pulled(way, doomed, how):
    """The error of a stream whose server is stopped or killed after its first piece."""
    process = doomed.server.process
    number, timeout = {"hang": (signal.SIGSTOP, 5), "kill": (signal.SIGKILL, 60)}[how]
    came = []

    def on_piece(piece):
        came.append(piece)
        if len(came) == 2:
            os.kill(process.pid, number)

    try:
        with pytest.raises(Unreachable) as caught:
            way.stream(doomed.server, PROMPT, client={"timeout": timeout}, on_piece=on_piece, **ASKED)
    finally:
        if how == "hang":
            os.kill(process.pid, signal.SIGCONT)
    assert 2 <= len(came) < ASKED["max_tokens"] / 2
    return type(caught.value)


@CALLS
def test_a_dead_engine_raises_server_error(way, dying, call):
    with pytest.raises(ServerError):
        getattr(way, call)(dying.server, PROMPT, client=ONCE, **ASKED)


@pytest.fixture(scope="module")
def dying(tight, tmp_path_factory):
    """A server whose engine has failed."""
    with tapped_server(tight, tmp_path_factory.mktemp("dying"), TAP_STEP_SECONDS=0.02) as dying:
        with GrpcStream(dying.server) as stream, pytest.raises(Exception, match="internal error"):
            list(stream.ask(text_input="x", request_id="die", stream=True, **ASKED))
        # By which tritonserver knows of it.
        dying.wait(
            lambda: not any("tensorrt_llm" in one.command for one in descendants(dying.server.process.pid))
        )
        yield dying
        dying.server.stop(0)  # with a dead stage 2.51.0 takes all of its exit timeout


class Full:
    """Eight streams that fill the slow server, until the end of the block or for `seconds`."""

    def __init__(self, quiet, seconds=None):
        self._quiet, self._clients = quiet, Client(f"grpc://127.0.0.1:{quiet.server.ports.grpc}")
        self._timer = threading.Timer(seconds, self._end) if seconds else None
        self.over = threading.Event()  # set just before the first of them ends

    def __enter__(self):
        self._streams = [self._clients.stream("x", temperature=1.0, seed=i, **ASKED) for i in range(8)]
        for stream in self._streams:
            self._start(stream)
        self._quiet.wait(lambda: (self._quiet.state["running"], self._quiet.state["waiting"]) == (4, 4))
        if self._timer:
            self._timer.start()
        return self

    def _start(self, stream):
        thread = threading.Thread(target=lambda: _drain(stream), daemon=True)
        thread.start()

    def _end(self):
        self.over.set()
        for stream in self._streams:
            stream.close()

    def __exit__(self, *_):
        if self._timer:
            self._timer.join()
        self._end()
        self._clients.close()


def _drain(stream):
    try:
        for _ in stream:
            pass
    except (Unreachable, ValueError):
        pass
