# SPDX-License-Identifier: Apache-2.0
"""How much a client may send, how slowly, and how many may be connected."""

import contextlib
import http.client
import socket
import time

import pytest

from openai_frontend.settings import FrontendSettings
from tests.openai.protected import (
    HOST,
    error_of,
    make_certificate,
    protected,
    read_raw,
    trusting,
)
from tests.waiting import SECONDS, wait_for

MOST = 100_000
SHORT = 0.5  # in place of 30 s
HEAD = b"POST /v1/length HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def small():
    """A server with a small limit of a body."""
    with protected(FrontendSettings(openai_max_body=MOST)) as server:
        yield server


@pytest.fixture(scope="module")
def hasty():
    """A server that waits for a short time only."""
    with protected(FrontendSettings(openai_max_body=MOST), arrival_seconds=SHORT) as server:
        yield server


def chunked(body, size):
    return iter([body[start : start + size] for start in range(0, len(body), size)])


def test_a_body_of_just_the_limit_is_taken_whole(small):
    for body, more in ((b"a" * MOST, {}), (chunked(b"a" * MOST, 999), {"encode_chunked": True})):
        headers = {"Transfer-Encoding": "chunked"} if more else {}
        assert small.ask("POST", "/v1/length", body, headers, **more)[::2] == (200, b"100000")


@pytest.mark.parametrize("length", [MOST + 1, 50 * MOST])
def test_a_longer_body_is_refused_by_its_length_before_it_is_sent(small, length):
    asked = len(small.api.asked)
    with small.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % length)
        raw = connection.recv(65536)
    assert raw.startswith(b"HTTP/1.1 413 ")
    assert error_of(raw.partition(b"\r\n\r\n")[2])["code"] == "request_too_large"
    assert len(small.api.asked) == asked


def test_a_client_that_sends_first_and_reads_then_gets_413_and_may_go_on(small):
    connection = http.client.HTTPConnection(HOST, small.port, timeout=SECONDS)
    with contextlib.closing(connection):
        for _ in range(2):
            connection.request("POST", "/v1/length", b"a" * 5 * MOST)
            answer = connection.getresponse()
            assert (answer.status, error_of(answer.read())["code"]) == (413, "request_too_large")
        connection.request("POST", "/v1/length", b"a")
        assert connection.getresponse().status == 200


@pytest.mark.parametrize("settings", [{"openai_max_body": 10 * MOST}, {"openai_api_keys": ("key",)}])
def test_a_client_that_sends_first_and_reads_then_is_answered_though_the_connection_ends(settings):
    with protected(FrontendSettings(**settings)) as server, server.connect() as connection:
        body = b"a" * 60 * MOST  # more than the kernel keeps
        connection.sendall(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        status, answer = read_raw(connection)
        assert status == (413 if "openai_max_body" in settings else 401)
        error_of(answer)


def test_a_longer_body_in_chunks_is_refused_once_that_much_has_come(small):
    asked = len(small.api.asked)
    with small.connect() as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(MOST // 1000 + 1):
            connection.sendall(b"3e8\r\n" + b"a" * 1000 + b"\r\n")
        raw = connection.recv(65536)  # though the body has no end yet
    assert raw.startswith(b"HTTP/1.1 413 ")
    assert len(small.api.asked) == asked


def test_a_body_in_very_many_pieces_is_refused(small):
    with small.connect() as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 5000 + b"0\r\n\r\n")
        status, body = read_raw(connection)
    assert status == 400
    error_of(body)


def test_what_never_ends_is_cut_off_though_it_was_refused(small):
    sent = 0
    with small.connect() as connection, contextlib.suppress(OSError):
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while sent < 10_000:
            connection.sendall(b"fa0\r\n" + b"a" * 4000 + b"\r\n")
            sent += 1
    assert sent < 10_000


def test_headers_without_end_are_cut_off(small):
    with small.connect() as connection:
        connection.sendall(HEAD)
        with contextlib.suppress(OSError):
            for number in range(100_000):
                connection.sendall(b"x-%d: %b\r\n" % (number, b"a" * 1000))
        assert read_raw(connection)[0] in (431, 0)  # a reset may overtake it
    wait_for(lambda: small.connections == 0)


def test_long_headers_are_refused_in_openai_s_form(small):
    with small.connect() as connection:
        connection.sendall(HEAD + b"x: " + b"a" * 70_000)
        time.sleep(0.2)
        connection.sendall(b"a")
        status, body = read_raw(connection)
    assert status == 431
    error_of(body)


def test_headers_after_a_body_are_dropped(small):
    with small.connect() as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\na\r\n0\r\n")
        connection.sendall(b"authorization: Bearer x\r\n" * 1000 + b"\r\n")
        assert read_raw(connection) == (200, b"1")


def test_what_is_no_http_is_refused_in_openai_s_form(small):
    for sent in (b"\x16\x03\x01 what is this\r\n\r\n", b"GET /v1/models HTTP/1.1\r\nbad header\r\n\r\n"):
        with small.connect() as connection:
            connection.sendall(sent)
            status, body = read_raw(connection)
        assert status == 400
        error_of(body)


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET /v1/mod", HEAD, HEAD + b"x-slow: a"])
def test_headers_that_do_not_come_end_the_connection_in_time(hasty, sent):
    started = time.monotonic()
    with hasty.connect() as connection:
        connection.sendall(sent)
        status, body = read_raw(connection)
    assert time.monotonic() - started > SHORT * 0.9
    assert (status, error_of(body)["code"]) == (408, "timeout")


def test_headers_that_trickle_end_the_connection_in_time(hasty):
    started = time.monotonic()
    with hasty.connect() as connection, contextlib.suppress(OSError):
        connection.sendall(HEAD)
        while time.monotonic() - started < SECONDS:
            connection.sendall(b"a")
            time.sleep(SHORT / 10)
    assert SHORT * 0.9 < time.monotonic() - started < SECONDS


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 10\r\n\r\na", b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n"]
)
def test_a_body_that_does_not_come_ends_the_request_in_time(hasty, framing):
    asked, started = len(hasty.api.asked), time.monotonic()
    with hasty.connect() as connection:
        connection.sendall(HEAD + framing)
        status, body = read_raw(connection)
    assert time.monotonic() - started > SHORT * 0.9
    assert (status, error_of(body)["code"]) == (408, "timeout")
    assert len(hasty.api.asked) == asked


def test_a_second_request_of_a_connection_has_the_same_time(hasty):
    connection = http.client.HTTPConnection(HOST, hasty.port, timeout=SECONDS)
    with contextlib.closing(connection):
        for _ in range(2):
            connection.request("GET", "/v1/models")
            assert connection.getresponse().read() == b"{}"
        connection.sock.sendall(b"GET /v1/mod")
        assert read_raw(connection.sock)[0] == 408


def test_a_long_answer_is_not_taken_for_a_slow_request(hasty):
    with hasty.connect() as connection:
        connection.sendall(b"GET /v1/stream?0.01 HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.sendall(b"GET /v1/mod")  # the next request's beginning changes nothing
        started, received = time.monotonic(), 0
        while time.monotonic() - started < 4 * SHORT:
            received += len(connection.recv(65536))
        assert received > 200_000
        assert connection.recv(1)


def slow_reader(server):
    """A client that asks for an endless stream and has little room for it."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(SECONDS)
    connection.connect((HOST, server.port))
    connection.sendall(b"GET /v1/stream HTTP/1.1\r\nHost: x\r\n\r\n")
    return connection


def test_a_client_that_takes_nothing_is_dropped_and_its_request_aborted():
    with protected(taking_seconds=SHORT) as server, contextlib.closing(slow_reader(server)):
        started = time.monotonic()
        assert server.api.left.wait(SECONDS)
        assert time.monotonic() - started > SHORT * 0.9
        wait_for(lambda: server.connections == 0)


def test_a_client_that_takes_too_little_is_dropped():
    """It always takes something, so for the kernel it is there, but 64 KB wait for it too long."""
    with protected(taking_seconds=3 * SHORT) as server, contextlib.closing(slow_reader(server)) as connection:
        started = time.monotonic()
        with contextlib.suppress(OSError):
            while not server.api.left.wait(0.02) and time.monotonic() - started < SECONDS:
                if not connection.recv(2000):
                    break
        assert server.api.left.wait(SECONDS)


def test_a_client_that_takes_something_is_not_dropped():
    with protected(taking_seconds=4 * SHORT) as server, contextlib.closing(slow_reader(server)) as connection:
        started = time.monotonic()
        while time.monotonic() - started < 12 * SHORT:
            connection.recv(300_000)
            time.sleep(0.02)
        assert not server.api.left.is_set()
    assert server.api.left.is_set()


def test_a_client_that_takes_nothing_of_few_pieces_is_dropped_by_the_kernel():
    """They all find room in buffers, so that no send waits."""
    with protected(taking_seconds=2) as server, contextlib.closing(socket.socket()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect((HOST, server.port))
        connection.sendall(b"GET /v1/stream?0.1,100 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert server.api.left.wait(20)


def test_beyond_the_bound_requests_are_refused_and_health_is_answered():
    with protected(FrontendSettings(openai_max_connections=2)) as server:
        with server.connect(), server.connect():
            wait_for(lambda: server.connections == 2)
            status, headers, body = server.ask("GET", "/v1/models")
            assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
            assert error_of(body)["code"] == "server_busy"
            assert server.ask("GET", "/health")[0] == 200
        wait_for(lambda: server.connections == 0)
        assert server.ask("GET", "/v1/models")[0] == 200


def test_far_beyond_the_bound_connections_are_closed_at_once():
    with protected(FrontendSettings(openai_max_connections=2)) as server, contextlib.ExitStack() as stack:
        for number in range(4):
            stack.enter_context(server.connect())
            wait_for(lambda number=number: server.connections == number + 1)
        with server.connect() as fifth:
            assert read_raw(fifth) == (0, b"")


def test_a_connection_that_was_let_in_goes_on_when_others_are_refused():
    with protected(FrontendSettings(openai_max_connections=1)) as server:
        first = http.client.HTTPConnection(HOST, server.port, timeout=SECONDS)
        with contextlib.closing(first):
            for _ in range(3):
                first.request("GET", "/v1/models")
                assert first.getresponse().read() == b"{}"
                assert server.ask("GET", "/v1/models")[0] == 503


def test_many_clients_that_never_finish_delay_no_other(small):
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(small.connect()).sendall(HEAD)
        assert small.ask("GET", "/v1/models")[0] == 200


def test_https_is_served_with_certificate_and_key_and_nothing_else(tmp_path):
    certificate, key = make_certificate(tmp_path)
    settings = FrontendSettings(openai_tls_cert=certificate, openai_tls_key=key)
    with protected(settings) as server:
        connection = http.client.HTTPSConnection(
            HOST, server.port, timeout=SECONDS, context=trusting(certificate)
        )
        with contextlib.closing(connection):
            connection.request("POST", "/v1/length", b"abc")
            assert connection.getresponse().read() == b"3"
        with pytest.raises((OSError, http.client.HTTPException)):
            server.ask("GET", "/v1/models")


def test_a_stop_lets_requests_end_and_takes_no_new_connection():
    with protected() as server:
        with server.connect() as streaming:
            streaming.sendall(b"GET /v1/stream?0.01 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert streaming.recv(10)
            server.assembled.server.should_exit = True
            wait_for(lambda: refuses(server))
            assert streaming.recv(10)
        wait_for(lambda: server.connections == 0)
    assert server.assembled.observed.cut == 0


def test_what_does_not_end_is_cut_and_counted():
    with protected(drain_seconds=1) as server, server.connect() as streaming:
        streaming.sendall(b"GET /v1/stream?0.01 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert streaming.recv(10)
        server.assembled.server.should_exit = True
        with contextlib.suppress(ConnectionResetError):
            while streaming.recv(65536):
                pass
        wait_for(lambda: server.assembled.observed.cut == 1)


def refuses(server):
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return True
    return False
