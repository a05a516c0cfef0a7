# SPDX-License-Identifier: Apache-2.0
"""Processes that die or hang while `serve` runs, and what clients and operators see of it.

Four servers fail at a time, a stage in each, since these tests mostly wait.
"""

import concurrent.futures
import contextlib
import functools
import json
import os
import re
import signal
import time
import urllib.request

import msgspec
import pytest

from benchmarks.pace.make_engine import LIMITS, make_pace_engine
from llm_ensemble_client import Client, ClientError, ServerError, Unreachable
from serving.tritonserver import free_ports, running
from tests.asking import as_infer, generate, generate_stream, joined, post, refusal
from tests.processes import STAGES, descendants
from tests.scraping import scrape
from tests.server.conftest import lay_tapped
from tests.server.serving import FAILED, ReadyServe, one_each, ready_serve, serve_command, served
from tests.waiting import SECONDS, wait_for

NOT_READY_SECONDS = 30  # docs/running.md promises 10, on a machine that has nothing else to do


@pytest.fixture(scope="module")
def pace(tmp_path_factory):
    """An engine that gives a token each 20 ms."""
    return make_pace_engine(tmp_path_factory.mktemp("pace") / "engine")


def stream(server, protocol, max_tokens=3000):
    """Return a stream's text, or its error. One of 3000 tokens lasts a minute."""
    ports = server.ports
    url = ports.http_url if protocol == "http" else f"grpc://{ports.host}:{ports.grpc}"
    with Client(url, timeout=50, retries=False) as client:
        try:
            return "".join(client.stream("The server", max_tokens=max_tokens, ignore_eos=True))
        except ClientError as error:
            return error


def plain(server, protocol, max_tokens=3000):
    """Return a plain request's text, or its error."""
    ports = server.ports
    url = ports.http_url if protocol == "http" else f"grpc://{ports.host}:{ports.grpc}"
    with Client(url, timeout=50, retries=False) as client:
        try:
            return client.generate("The server", max_tokens=max_tokens, ignore_eos=True).text
        except ClientError as error:
            return error


def test_a_killed_engine_stage_ends_plain_requests_before_the_server_ends(pace, tmp_path):
    """They wait for it beside Triton, which would not tell them."""
    log = tmp_path / "log"
    with log.open("wb") as file, running(pace, free_ports(), file) as server:
        server.wait_ready()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            asked = [pool.submit(plain, server, protocol) for protocol in ("http", "grpc")]
            wait_for(lambda: scrape(server).value("llm_requests_running") == 2)
            (engine,) = [one for one in descendants(server.process.pid) if "/tensorrt_llm/1/" in one.command]
            os.kill(engine.pid, signal.SIGKILL)
            assert [type(one.result(SECONDS)) for one in asked] == [ServerError, ServerError]
        assert log.read_text().count("failed: the engine stage is gone") == 2
        server.stop(0)


def test_a_stage_that_is_killed_ends_an_idle_server(pace, tmp_path):
    with one_each(STAGES, pace, tmp_path) as each:
        for name, one_server in each.items():
            os.kill(one_server.stub(name).pid, signal.SIGKILL)
        for one_server in each.values():
            one_server.wait_not_ready(NOT_READY_SECONDS)
        for name, one_server in each.items():
            one_server.wait_failed()
            assert one_server.last_line == (
                f"serve: {name} has died (its process was {one_server.stub(name).pid}): "
                "start serve again, or set ON_DEAD=restart"
            )


def test_a_stage_that_is_killed_under_load_ends_every_request_by_an_error(pace, tmp_path):
    with one_each(STAGES, pace, tmp_path) as each, concurrent.futures.ThreadPoolExecutor(32) as pool:
        streams = [
            pool.submit(ask, one_server.server, protocol)
            for one_server in each.values()
            for ask, protocol in [(stream, "http"), (stream, "grpc")] * 3 + [(plain, "http"), (plain, "grpc")]
        ]
        time.sleep(1)
        assert not [one_stream for one_stream in streams if one_stream.done()]
        for name, one_server in each.items():
            os.kill(one_server.stub(name).pid, signal.SIGKILL)
        for one_server in each.values():
            one_server.wait_not_ready(NOT_READY_SECONDS)
        for name, one_server in each.items():
            one_server.wait_failed()
            assert one_server.last_line.startswith(f"serve: {name} has died")
        ends = [one_stream.result(SECONDS) for one_stream in streams]
        assert {type(end) for end in ends} <= {Unreachable, ServerError}


def test_a_stage_that_hangs_ends_the_server(pace, tmp_path):
    """A stopped process neither works nor dies."""
    with one_each([*STAGES, "whole"], pace, tmp_path, HANG_SECONDS=8) as each:
        whole = each.pop("whole")
        os.kill(whole.process("bin/tritonserver").pid, signal.SIGSTOP)
        for name, one_server in each.items():
            os.kill(one_server.stub(name).pid, signal.SIGSTOP)
        whole.wait_failed()
        assert all(name in whole.last_line for name in STAGES)
        for name, one_server in each.items():
            one_server.wait_failed()
            # The engine alone, if a probe just before was counted for the others and its token not yet.
            pattern = r"serve: (.*) (?:made no progress|generated no token) for \d+ s, although probed.*"
            hung = re.fullmatch(pattern, one_server.last_line)
            assert hung, one_server.log_tail
            assert name in hung[1]


@contextlib.contextmanager
def tapped(engine_dir, folder, **environ):
    """Start a `serve` with tapped stages, whose engine takes 20 ms a step."""
    lay_tapped(folder)
    command = functools.partial(serve_command, module="tests.server.serve_tapped")
    slow = {"TAP_FOLDER": folder, "TAP_STEP_SECONDS": 0.02}
    with served(engine_dir, folder / "log", command=command, **slow, **environ) as server:
        yield server


def streams_seen(folder):
    """Return how many streams the engine stage has sent chunks of."""
    if not (folder / "chunks").exists():
        return 0
    return len({json.loads(line)["stream"] for line in (folder / "chunks").read_text().splitlines()})


def last_line(folder):
    return (folder / "log").read_text().splitlines()[-1]


def test_an_engine_that_hangs_keeps_deadlines_and_ends_the_server(demo_engine, tmp_path):
    fields = {"max_tokens": 300, "ignore_eos": True, "deadline_ms": 3000}
    with (
        tapped(demo_engine, tmp_path, HANG_SECONDS=8) as server,
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        running = pool.submit(generate_stream, server, "The server", **fields)
        wait_for(lambda: streams_seen(tmp_path) == 1)
        hanging = pool.submit(generate, server, "The server", id="hang", **fields)
        assert running.result()[-1]["finish_reason"] == "timeout"
        assert joined(running.result())
        assert hanging.result()["finish_reason"] == "timeout"
        assert server.process.wait(60) == FAILED
    assert re.match(r"serve: tensorrt_llm generated no token for \d+ s, although probed", last_line(tmp_path))


def test_an_engine_that_raises_ends_its_requests_and_the_server(demo_engine, tmp_path):
    with tapped(demo_engine, tmp_path) as server, concurrent.futures.ThreadPoolExecutor() as pool:
        streams = [pool.submit(stream, server, protocol, 500) for protocol in ("http", "grpc")]
        wait_for(lambda: streams_seen(tmp_path) == 2)
        killer = pool.submit(refusal, server, {"text_input": "The server", "id": "die"})
        assert "internal error" in killer.result(SECONDS)[1]
        assert [type(one_stream.result(SECONDS)) for one_stream in streams] == [ServerError, ServerError]
        assert server.process.wait(60) == FAILED
    assert last_line(tmp_path).startswith("serve: tensorrt_llm has died")


def test_a_server_restarts_once_and_not_for_ever(pace, tmp_path):
    with ready_serve(pace, tmp_path / "log", ON_DEAD="restart") as first:
        os.kill(first.stub("preprocessing").pid, signal.SIGKILL)
        first.wait_not_ready(NOT_READY_SECONDS)
        # ensure that the old one is gone before the new one counts
        old = first.process("bin/tritonserver").pid
        wait_for(lambda: old not in [one.pid for one in descendants(first.server.process.pid)])
        first.server.wait_ready()
        assert generate(first.server, "The server", max_tokens=3)["num_output_tokens"] == 3
        second = ReadyServe(first.server, tmp_path / "log")
        os.kill(second.process("bin/tritonserver").pid, signal.SIGKILL)
        second.wait_failed()
        assert "serve: preprocessing has died" in (tmp_path / "log").read_text()
        assert second.last_line.endswith("less than 60 s after a restart")


def test_when_tritonserver_is_killed_clients_get_an_error_at_once_and_serve_ends(pace, tmp_path):
    with ready_serve(pace, tmp_path / "log") as server, concurrent.futures.ThreadPoolExecutor() as pool:
        streams = [pool.submit(stream, server.server, protocol) for protocol in ("http", "grpc")]
        time.sleep(1)
        os.kill(server.process("bin/tritonserver").pid, signal.SIGKILL)
        assert [type(one_stream.result(SECONDS)) for one_stream in streams] == [Unreachable, Unreachable]
        server.wait_failed()
        assert "tritonserver ended by itself with -9" in server.last_line


def test_a_stop_under_load_drains_running_requests_and_refuses_new_ones(pace, tmp_path):
    fields = {"max_tokens": 400, "ignore_eos": True}
    with ready_serve(pace, tmp_path / "log") as server, concurrent.futures.ThreadPoolExecutor(32) as pool:
        whole = joined(generate_stream(server.server, "The server", **fields))
        streams = [pool.submit(generate_stream, server.server, "The server", **fields) for _ in range(20)]
        plains = [pool.submit(plain, server.server, "http", 400) for _ in range(12)]
        wait_for(lambda: scrape(server.server).value("llm_requests_running") == 32)
        server.server.process.send_signal(signal.SIGTERM)
        server.wait_not_ready(SECONDS)
        client = Client(server.server.ports.http_url, timeout=SECONDS, retries=False)
        with client, pytest.raises(ClientError):
            client.generate("The server", max_tokens=1)
        assert not [request for request in streams + plains if request.done()]
        assert [joined(one_stream.result()) for one_stream in streams] == [whole] * 20
        assert [one.result() for one in plains] == [whole] * 12
        assert server.server.process.wait(60) == 0
        assert server.leftovers() == []


def successes(server, model="ensemble_unary"):
    """Return how many requests a model has served."""
    ports = server.ports
    with urllib.request.urlopen(f"http://{ports.host}:{ports.metrics}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return int(re.search(rf'^nv_inference_request_success{{model="{model}".*}} (\d+)', text, re.MULTILINE)[1])


def test_the_watchdog_probes_an_idle_server_and_not_a_busy_one(pace, tmp_path):
    with ready_serve(pace, tmp_path / "log", HANG_SECONDS=5) as server:
        wait_for(lambda: successes(server.server) >= 2)
        before, sent, started = successes(server.server), 0, time.monotonic()
        while time.monotonic() - started < 5:
            status, _ = post(server.server, "infer", as_infer(text_input="a", max_tokens=3), "ensemble_unary")
            assert status == 200
            sent += 1
        # One may have been under way.
        assert successes(server.server) - before - sent in (0, 1)
    assert " request " in (tmp_path / "log").read_text()
    assert "watchdog" not in (tmp_path / "log").read_text()


def test_a_full_server_is_not_taken_for_one_that_hangs(tmp_path):
    """For longer than HANG_SECONDS the watchdog's probe is refused, or waits."""
    few = make_pace_engine(tmp_path / "few", msgspec.structs.replace(LIMITS, max_batch_size=2))
    fields = {"max_tokens": 350, "ignore_eos": True}
    with (
        ready_serve(few, tmp_path / "log", MAX_WAITING=2, HANG_SECONDS=5) as server,
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        started = time.monotonic()
        streams = [pool.submit(generate_stream, server.server, "The server", **fields) for _ in range(4)]
        ends = [one_stream.result()[-1]["finish_reason"] for one_stream in streams]
        assert ends == ["length"] * 4
        assert time.monotonic() - started > 2 * 5
        assert server.server.process.poll() is None
