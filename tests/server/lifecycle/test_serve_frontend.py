# SPDX-License-Identifier: Apache-2.0
"""`serve` and OpenAI's API beside tritonserver: started, started again, drained, ended."""

import concurrent.futures
import contextlib
import dataclasses
import http.client
import json
import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from benchmarks.pace.make_engine import make_pace_engine
from serving.beside.frontend import LONGEST_PAUSE_SECONDS
from serving.server_options import DRAIN_SECONDS
from serving.tritonserver import free_ports
from tests.asking import generate_stream, joined
from tests.openai.protected import make_certificate, trusting
from tests.processes import descendants
from tests.scraping import scrape
from tests.server.protocol.test_hosts import NEEDS_IPV6
from tests.server.serving import FAILED, ready_serve, refused
from tests.waiting import SECONDS, wait_for

DIED = re.compile(
    r"serve: the OpenAI frontend has died \(its process (\d+) ended with -9\): starting it .* in (\d+) s"
)
PROMPT = "The server"


@pytest.fixture(scope="module")
def pace(tmp_path_factory):
    """An engine that gives a token each 20 ms."""
    return make_pace_engine(tmp_path_factory.mktemp("pace") / "engine")


@contextlib.contextmanager
def serving(engine, folder, host="127.0.0.1", **environ):
    """Start a `serve` with OpenAI's API, and wait until it says that it is ready."""
    ports = dataclasses.replace(free_ports(openai=True), host=host)
    with ready_serve(engine, folder / "log", ports=ports, **environ) as one_server:
        one_server.log = folder / "log"
        yield one_server


def connect(ports, host=None, **tls):
    kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
    return contextlib.closing(kind(host or ports.host, ports.openai, timeout=SECONDS, **tls))


def get(ports, path, host=None, headers=None, **tls):
    """Status and body."""
    with connect(ports, host, **tls) as connection:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()


def status_of(ports, path="/health"):
    """The status, or None when there is no answer."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return get(ports, path)[0]
    return None


def complete(ports, max_tokens=4):
    """The text of a completion that streams; asks for a second of it for each 50 tokens."""
    body = {"model": "pace", "prompt": PROMPT, "max_tokens": max_tokens, "stream": True, "ignore_eos": True}
    with connect(ports) as connection:
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        events = answer.read().decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""], events[-3:]
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    return "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])


def frontend(one_server):
    """The process of the frontend now; None if there is none."""
    found = [
        one for one in descendants(one_server.server.process.pid) if " -m openai_frontend " in one.command
    ]
    return found[0].pid if found else None


def deaths(one_server):
    return DIED.findall(one_server.log.read_text())


def test_the_ready_line_has_the_address_and_it_answers(pace, tmp_path):
    with serving(pace, tmp_path) as one_server:
        ports = one_server.server.ports
        ready = next(line for line in one_server.log.read_text().splitlines() if " is ready: " in line)
        assert ready.endswith(f", OpenAI API http://127.0.0.1:{ports.openai}")
        assert status_of(ports) == 200  # as soon as the line is there
        assert Path(f"/proc/{frontend(one_server)}/oom_score_adj").read_text() == "500\n"
        assert json.loads(get(ports, "/v1/models")[1])["data"][0]["id"] == "pace"
        assert complete(ports).startswith("The")
        status, text = get(ports, "/metrics")
        assert (
            status,
            b'llm_openai_requests_total{method="POST",route="/v1/completions",status="200"} 1.0' in text,
        ) == (
            200,
            True,
        )


def test_without_a_port_there_is_no_frontend(pace, tmp_path):
    with ready_serve(pace, tmp_path / "log") as one_server:
        assert frontend(one_server) is None
    assert "OpenAI" not in (tmp_path / "log").read_text()


def test_a_frontend_that_dies_is_started_again_and_triton_serves_on(pace, tmp_path):
    with serving(pace, tmp_path) as one_server, concurrent.futures.ThreadPoolExecutor() as pool:
        ports, asked = one_server.server.ports, {"max_tokens": 400, "ignore_eos": True}
        stream = pool.submit(generate_stream, one_server.server, PROMPT, **asked)
        for number in range(2):
            pid = frontend(one_server)
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda number=number: len(deaths(one_server)) == number + 1)
            assert deaths(one_server)[-1] == (str(pid), str(2**number))
            wait_for(lambda pid=pid: frontend(one_server) not in (None, pid))
            wait_for(lambda: status_of(ports) == 200)
        assert complete(ports)
        assert stream.result()[-1]["finish_reason"] == "length"
        assert joined(stream.result())
        one_server.server.process.send_signal(signal.SIGTERM)
        assert one_server.server.process.wait(SECONDS) == 0
    assert LONGEST_PAUSE_SECONDS >= 2


def test_what_a_dead_frontend_had_asked_for_is_aborted(pace, tmp_path):
    with serving(pace, tmp_path) as one_server, connect(one_server.server.ports) as connection:
        body = {"model": "pace", "prompt": PROMPT, "max_tokens": 4000, "stream": True, "ignore_eos": True}
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        assert connection.getresponse().read(10)
        wait_for(lambda: scrape(one_server.server).value("llm_requests_running") == 1)
        os.kill(frontend(one_server), signal.SIGKILL)
        wait_for(
            lambda: scrape(one_server.server).value("llm_requests_running") == 0, 20
        )  # 2 on an idle machine


def test_a_stop_while_the_frontend_is_dead_is_a_stop(pace, tmp_path):
    with serving(pace, tmp_path) as one_server:
        os.kill(frontend(one_server), signal.SIGKILL)
        wait_for(lambda: deaths(one_server))
        one_server.server.process.send_signal(signal.SIGTERM)
        assert one_server.server.process.wait(SECONDS) == 0


def test_a_stop_lets_requests_end_and_refuses_new_ones(pace, tmp_path):
    with serving(pace, tmp_path) as one_server, concurrent.futures.ThreadPoolExecutor(16) as pool:
        ports = one_server.server.ports
        whole = complete(ports, 200)
        running = [pool.submit(complete, ports, 200) for _ in range(16)]
        time.sleep(1)
        assert not [one for one in running if one.done()]
        one_server.server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: status_of(ports) is None)
        assert not [one for one in running if one.done()]
        assert [one.result() for one in running] == [whole] * 16
        assert one_server.server.process.wait(SECONDS) == 0
        assert one_server.leftovers() == []


def test_an_idle_server_stops_at_once(pace, tmp_path):
    """Its idle connection to tritonserver is no client that must be waited for."""
    with serving(pace, tmp_path) as one_server:
        assert complete(one_server.server.ports)
        started = time.monotonic()
        one_server.server.process.send_signal(signal.SIGTERM)
        assert one_server.server.process.wait(SECONDS) == 0
    assert time.monotonic() - started < 20  # 3 on an idle machine
    assert "those over gRPC are cut" not in (tmp_path / "log").read_text()


def test_requests_that_do_not_end_are_cut_and_the_status_says_so(pace, tmp_path):
    with serving(pace, tmp_path) as one_server, connect(one_server.server.ports) as connection:
        body = {"model": "pace", "prompt": PROMPT, "max_tokens": 4000, "stream": True, "ignore_eos": True}
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        assert answer.read(10)
        started = time.monotonic()
        one_server.server.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(http.client.HTTPException, OSError):
            answer.read()
        assert one_server.server.process.wait(SECONDS + DRAIN_SECONDS) == FAILED
        assert DRAIN_SECONDS - 2 < time.monotonic() - started < DRAIN_SECONDS + 25
        assert one_server.last_line == "serve: requests of OpenAI's API had not ended after 30 s: cut"
        wait_for(lambda: one_server.leftovers() == [])


def test_nothing_is_left_behind_when_serve_is_killed(pace, tmp_path):
    with serving(pace, tmp_path) as one_server:
        started = [process.pid for process in one_server.processes]
        assert frontend(one_server) in started
        one_server.server.process.kill()
        one_server.server.process.wait()
        wait_for(lambda: not [pid for pid in started if os.path.exists(f"/proc/{pid}")])


def test_the_frontend_outlives_tritonserver_and_finds_the_next(pace, tmp_path):
    with serving(pace, tmp_path, ON_DEAD="restart") as one_server:
        ports, pid = one_server.server.ports, frontend(one_server)
        assert complete(ports)
        os.kill(one_server.process("bin/tritonserver").pid, signal.SIGKILL)
        wait_for(lambda: status_of(ports) == 503)
        one_server.server.wait_ready()
        ready = time.monotonic()
        wait_for(lambda: status_of(ports) == 200)
        assert time.monotonic() - ready < 10  # gRPC tries again after a pause that grows
        assert complete(ports)
        assert frontend(one_server) == pid
        assert deaths(one_server) == []


def test_when_tritonserver_dies_for_good_the_frontend_ends_with_serve(pace, tmp_path):
    with serving(pace, tmp_path) as one_server:
        os.kill(one_server.process("bin/tritonserver").pid, signal.SIGKILL)
        one_server.wait_failed()


def test_a_taken_port_is_one_line_that_names_it(pace):
    ports = free_ports(openai=True)
    with socket.socket() as taken:
        taken.bind((ports.host, ports.openai))
        taken.listen()
        line = refused(pace, ports)
    told = "choose another with OPENAI_PORT=..., or none with OPENAI_PORT=0"
    assert line == f"serve: port {ports.openai} is taken: {told}"


def test_the_same_port_twice_is_one_line(pace):
    ports = free_ports()
    line = refused(pace, dataclasses.replace(ports, openai=ports.http))
    assert line.startswith("serve: HTTP_PORT, GRPC_PORT, METRICS_PORT and OPENAI_PORT must differ, got [")


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"OPENAI_API_KEYS": "a b"}, "OPENAI_API_KEYS must be API keys of visible ASCII characters"),
        ({"OPENAI_API_KEYS_FILE": "/no/such/file"}, "OPENAI_API_KEYS_FILE: /no/such/file cannot be read"),
        ({"OPENAI_TLS_CERT": "/no/such/file"}, "OPENAI_TLS_CERT and OPENAI_TLS_KEY belong together"),
        (
            {"OPENAI_MAX_BODY": "8MB"},
            "OPENAI_MAX_BODY must be a whole number of bytes, at least 1, not '8MB'",
        ),
    ],
)
def test_a_setting_that_the_frontend_cannot_take_is_one_line(pace, environ, told):
    assert refused(pace, free_ports(openai=True), **environ).startswith(f"serve: {told}")


def test_keys_come_from_the_environment(pace, tmp_path):
    with serving(pace, tmp_path, OPENAI_API_KEYS="first,second") as one_server:
        ports = one_server.server.ports
        key = {"Authorization": "Bearer second"}
        described = json.loads(get(ports, "/openapi.json", headers=key)[1])["paths"]
        assert {"/v1/chat/completions", "/v1/models", "/health"} <= described.keys()
        for path in {*described, "/", "/docs", "/openapi.json", "/metrics"} - {"/health"}:
            assert status_of(ports, path) == 401, path
        assert get(ports, "/v1/models", headers=key)[0] == 200
        assert status_of(ports) == 200
    assert "second" not in (tmp_path / "log").read_text()


def test_https_is_served_and_the_ready_line_says_so(pace, tmp_path):
    certificate, key = make_certificate(tmp_path)
    with serving(pace, tmp_path, OPENAI_TLS_CERT=certificate, OPENAI_TLS_KEY=key) as one_server:
        ports = one_server.server.ports
        assert f"OpenAI API https://127.0.0.1:{ports.openai}" in one_server.log.read_text()
        assert get(ports, "/health", context=trusting(certificate))[0] == 200


@NEEDS_IPV6
@pytest.mark.parametrize(
    ("host", "reached"), [("::1", ["::1"]), ("::", ["::1", "127.0.0.1"]), ("0.0.0.0", ["127.0.0.1"])]
)
def test_it_listens_where_triton_does(pace, tmp_path, host, reached):
    with serving(pace, tmp_path, host=host) as one_server:
        ports = one_server.server.ports
        for address in reached:
            assert get(ports, "/health", address)[0] == 200
        shown = "127.0.0.1" if host == "0.0.0.0" else "[::1]"
        assert f"OpenAI API http://{shown}:{ports.openai}" in one_server.log.read_text()
