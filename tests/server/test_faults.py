# SPDX-License-Identifier: Apache-2.0
"""What is killed or stops answering while `serve` runs, and what then is seen from outside.

Four servers fail at a time, a step in each: what takes long here is waiting.
"""

import concurrent.futures
import contextlib
import functools
import os
import re
import signal
import time
import urllib.request
from pathlib import Path

import msgspec
import pytest

from benchmarks.pace_engine import LIMITS, make_pace_engine
from client import Client, ClientError, ServerError, Unreachable
from tests.asking import as_infer, generate, generate_stream, joined, post, refusal
from tests.processes import descendants
from tests.server.conftest import lay_tapped
from tests.server.serving import serve_command, served

STEPS = ["ensemble_unary", "preprocessing", "tensorrt_llm", "postprocessing"]
NOT_READY_SECONDS = 10  # the promise
FAILED = 3


@pytest.fixture(scope="module")
def pace(tmp_path_factory):
    """An engine that gives a token each 20 ms."""
    return make_pace_engine(tmp_path_factory.mktemp("pace") / "engine")


class Served:
    """A `serve` that is ready."""

    def __init__(self, server, log):
        self.server, self._log = server, log
        self.processes = descendants(server.process.pid)

    def process(self, part):
        """Its one process whose command line has this part."""
        (found,) = [process for process in self.processes[1:] if part in process.command.split("\0")[0]]
        return found

    def step(self, name):
        return self.process(f"/{name}/1/model.py")

    @property
    def last_words(self):
        return self._log.read_text().splitlines()[-1]

    def is_left(self):
        """Processes and shared memory that `serve` left behind."""
        regions = {process.command.split()[2] for process in self.processes if "_stub " in process.command}
        assert len(regions) == len(STEPS)
        left = [process for process in self.processes if os.path.exists(f"/proc/{process.pid}")]
        return left + [region for region in regions if Path("/dev/shm", region).exists()]

    def wait_not_ready(self, seconds):
        deadline = time.monotonic() + seconds
        while self.server.ready():
            assert time.monotonic() < deadline, f"still ready after {seconds} s"
            time.sleep(0.05)

    def wait_failed(self, seconds=20):
        """Until `serve` has ended as it does when something died, with nothing left."""
        assert self.server.process.wait(seconds) == FAILED, self._log.read_text()[-3000:]
        deadline = time.monotonic() + 10
        while self.is_left() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert self.is_left() == []


@contextlib.contextmanager
def one_each(names, engine_dir, folder, **environ):
    """A `serve` for each name."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(one(engine_dir, folder / name, **environ)) for name in names}


@contextlib.contextmanager
def one(engine_dir, log, **environ):
    with served(engine_dir, log, PACE_INTERVAL_MS=20, **environ) as server:
        while " is ready: " not in log.read_text():  # Triton says so a moment before `serve` knows
            time.sleep(0.02)
        yield Served(server, log)


def stream(server, protocol, max_tokens=3000):
    """What became of a stream; one of so many tokens lasts a minute."""
    ports = server.ports
    url = ports.http_url if protocol == "http" else f"grpc://{ports.host}:{ports.grpc}"
    with Client(url, timeout=50, retries=False) as client:
        try:
            return "".join(client.stream("The server", max_tokens=max_tokens, ignore_eos=True))
        except ClientError as error:
            return error


def test_a_step_that_is_killed_ends_an_idle_server(pace, tmp_path):
    with one_each(STEPS, pace, tmp_path) as each:
        for name, one_server in each.items():
            os.kill(one_server.step(name).pid, signal.SIGKILL)
        for one_server in each.values():
            one_server.wait_not_ready(NOT_READY_SECONDS)
        for name, one_server in each.items():
            one_server.wait_failed()
            assert one_server.last_words == (
                f"serve: {name} has died (its process was {one_server.step(name).pid}): "
                "start serve again, or let it do so by ON_DEAD=restart"
            )


def test_a_step_that_is_killed_under_load_ends_every_stream_by_an_error(pace, tmp_path):
    with one_each(STEPS, pace, tmp_path) as each, concurrent.futures.ThreadPoolExecutor(24) as pool:
        streams = [
            pool.submit(stream, one_server.server, protocol)
            for one_server in each.values()
            for protocol in ("http", "grpc") * 3
        ]
        time.sleep(1)
        assert not [one_stream for one_stream in streams if one_stream.done()]
        for name, one_server in each.items():
            os.kill(one_server.step(name).pid, signal.SIGKILL)
        for one_server in each.values():
            one_server.wait_not_ready(NOT_READY_SECONDS)
        for name, one_server in each.items():
            one_server.wait_failed()
            assert one_server.last_words.startswith(f"serve: {name} has died")
        ends = [one_stream.result(10) for one_stream in streams]
        assert {type(end) for end in ends} <= {Unreachable, ServerError}


def test_a_step_that_hangs_ends_the_server(pace, tmp_path):
    """Stopped, a process neither works nor dies."""
    with one_each(STEPS, pace, tmp_path, HANG_SECONDS=8) as each:
        for name, one_server in each.items():
            os.kill(one_server.step(name).pid, signal.SIGSTOP)
        for name, one_server in each.items():
            one_server.wait_failed(60)
            hung = re.fullmatch(r"serve: (.*) did nothing for \d+ s, though asked.*", one_server.last_words)
            assert name in hung[1]


@contextlib.contextmanager
def tapped(engine_dir, folder, **environ):
    """A `serve` with tapped steps, whose engine takes 20 ms for a step."""
    lay_tapped(folder)
    command = functools.partial(serve_command, module="tests.server.serve_tapped")
    slow = {"TAP_FOLDER": folder, "TAP_STEP_SECONDS": 0.02}
    with served(engine_dir, folder / "log", command=command, **slow, **environ) as server:
        yield server


def last_words(folder):
    return (folder / "log").read_text().splitlines()[-1]


def test_an_engine_that_hangs_keeps_deadlines_and_ends_the_server(demo_engine, tmp_path):
    asked = {"max_tokens": 300, "ignore_eos": True, "deadline_ms": 3000}
    with (
        tapped(demo_engine, tmp_path, HANG_SECONDS=8) as server,
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        running = pool.submit(generate_stream, server, "The server", **asked)
        time.sleep(1)
        started = time.monotonic()
        hanging = pool.submit(generate, server, "The server", id="hang", **asked)
        assert running.result()[-1]["finish_reason"] == "timeout"
        assert joined(running.result())
        assert hanging.result()["finish_reason"] == "timeout"
        assert time.monotonic() - started < 3 * 3
        assert server.process.wait(60) == FAILED
    assert re.match(r"serve: tensorrt_llm made no token for \d+ s, though asked", last_words(tmp_path))


def test_an_engine_that_raises_ends_its_requests_and_the_server(demo_engine, tmp_path):
    with tapped(demo_engine, tmp_path) as server, concurrent.futures.ThreadPoolExecutor() as pool:
        asked = [pool.submit(stream, server, protocol, 500) for protocol in ("http", "grpc")]
        time.sleep(0.5)
        killer = pool.submit(refusal, server, {"text_input": "The server", "id": "die"})
        assert "internal error" in killer.result(10)[1]
        assert [type(one_stream.result(10)) for one_stream in asked] == [ServerError, ServerError]
        assert server.process.wait(30) == FAILED
    assert last_words(tmp_path).startswith("serve: tensorrt_llm has died")


def test_a_server_restarts_once_and_not_for_ever(pace, tmp_path):
    with one(pace, tmp_path / "log", ON_DEAD="restart") as first:
        os.kill(first.step("preprocessing").pid, signal.SIGKILL)
        first.wait_not_ready(NOT_READY_SECONDS)
        # ensure that the old one is gone before the new one counts
        deadline = time.monotonic() + 30
        while first.process("bin/tritonserver").pid in [p.pid for p in descendants(first.server.process.pid)]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        first.server.wait_ready()
        assert generate(first.server, "The server", max_tokens=3)["num_output_tokens"] == 3
        second = Served(first.server, tmp_path / "log")
        os.kill(second.process("bin/tritonserver").pid, signal.SIGKILL)
        second.wait_failed()
        assert "serve: preprocessing has died" in (tmp_path / "log").read_text()
        assert second.last_words.endswith("less than 60 s after a restart")


def test_when_tritonserver_is_killed_clients_are_told_at_once_and_serve_ends(pace, tmp_path):
    with one(pace, tmp_path / "log") as server, concurrent.futures.ThreadPoolExecutor() as pool:
        streams = [pool.submit(stream, server.server, protocol) for protocol in ("http", "grpc")]
        time.sleep(1)
        os.kill(server.process("bin/tritonserver").pid, signal.SIGKILL)
        assert [type(one_stream.result(10)) for one_stream in streams] == [Unreachable, Unreachable]
        server.wait_failed()
        assert "tritonserver ended by itself with -9" in server.last_words


def test_a_stop_under_load_finishes_what_runs_and_refuses_what_comes(pace, tmp_path):
    asked = {"max_tokens": 200, "ignore_eos": True}
    with one(pace, tmp_path / "log") as server, concurrent.futures.ThreadPoolExecutor(32) as pool:
        whole = joined(generate_stream(server.server, "The server", **asked))
        running = [pool.submit(generate_stream, server.server, "The server", **asked) for _ in range(32)]
        time.sleep(1.5)
        server.server.process.send_signal(signal.SIGTERM)
        server.wait_not_ready(5)
        client = Client(server.server.ports.http_url, timeout=10, retries=False)
        with client, pytest.raises(ClientError):
            client.generate("The server", max_tokens=1)
        assert not [one_stream for one_stream in running if one_stream.done()]
        assert [joined(one_stream.result()) for one_stream in running] == [whole] * 32
        assert server.server.process.wait(40) == 0
        assert server.is_left() == []


def requests(server, model="ensemble_unary"):
    """How many requests a model has answered."""
    ports = server.ports
    with urllib.request.urlopen(f"http://{ports.host}:{ports.metrics}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return int(re.search(rf'^nv_inference_request_success{{model="{model}".*}} (\d+)', text, re.MULTILINE)[1])


def test_the_watchdog_asks_an_idle_server_and_not_a_busy_one(pace, tmp_path):
    with one(pace, tmp_path / "log", HANG_SECONDS=5) as server:
        idle_until = time.monotonic() + 10
        while requests(server.server) < 2:
            assert time.monotonic() < idle_until
            time.sleep(0.1)
        before, asked, started = requests(server.server), 0, time.monotonic()
        while time.monotonic() - started < 5:
            status, _ = post(server.server, "infer", as_infer(text_input="a", max_tokens=3), "ensemble_unary")
            assert status == 200
            asked += 1
        # One may have been under way.
        assert requests(server.server) - before - asked in (0, 1)


def test_a_full_server_is_not_taken_for_one_that_hangs(tmp_path):
    """For longer than HANG_SECONDS the watchdog's own request is refused, or waits."""
    few = make_pace_engine(tmp_path / "few", msgspec.structs.replace(LIMITS, max_batch_size=2))
    asked = {"max_tokens": 350, "ignore_eos": True}
    with (
        one(few, tmp_path / "log", MAX_WAITING=2, HANG_SECONDS=5) as server,
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        started = time.monotonic()
        streams = [pool.submit(generate_stream, server.server, "The server", **asked) for _ in range(4)]
        ends = [one_stream.result()[-1]["finish_reason"] for one_stream in streams]
        assert ends == ["length"] * 4
        assert time.monotonic() - started > 2 * 5
        assert server.server.process.poll() is None
