# SPDX-License-Identifier: Apache-2.0
"""What HTTP clients and proxies do beside plain requests: compressed bodies, pipelining, Expect."""

import contextlib
import gzip
import http.client
import io
import json
import socket
import zlib

import pytest

from tests.asking import SECONDS, as_infer, generate, post

ASKED = {"text_input": "The package manager", "max_tokens": 8}
BODY = json.dumps(as_infer(**ASKED)).encode()


@pytest.fixture(scope="module")
def answered(server):
    """The outputs that the request has, sent plainly."""
    status, text = post(server, "infer", BODY, "ensemble_unary")
    assert status == 200, text
    return json.loads(text)["outputs"]


def infer(server, body, **headers):
    connection = http.client.HTTPConnection(server.ports.host, server.ports.http, timeout=SECONDS)
    connection.request("POST", "/v2/models/ensemble_unary/infer", body, headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer, text


@pytest.mark.parametrize(
    ("coding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)], ids=["gzip", "deflate"]
)
def test_a_compressed_body_of_plain_infer_is_taken(server, answered, coding, compress):
    answer, text = infer(server, compress(BODY), **{"Content-Encoding": coding})
    assert (answer.status, json.loads(text)["outputs"]) == (200, answered)


@pytest.mark.parametrize(
    ("coding", "expand"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)], ids=["gzip", "deflate"]
)
def test_an_answer_of_plain_infer_is_compressed_for_a_client_that_takes_it(server, answered, coding, expand):
    answer, text = infer(server, BODY, **{"Accept-Encoding": coding})
    assert (answer.status, answer.headers["Content-Encoding"]) == (200, coding)
    assert json.loads(expand(text))["outputs"] == answered


def test_a_body_that_is_not_what_its_header_says_is_refused(server):
    for body in (BODY, gzip.compress(BODY)[:-20]):
        answer, text = infer(server, body, **{"Content-Encoding": "gzip"})
        assert answer.status in (400, 500), text


def request(path, fields, *headers):
    body = json.dumps(fields).encode()
    lines = [f"POST /v2/models/ensemble/{path} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode(), body


class ConnectionClosed(Exception):
    pass


class Answers(io.BufferedReader):
    """The answers of one connection, in the order in which they come."""

    def __init__(self, connection):
        super().__init__(socket.SocketIO(connection, "r"))

    def next(self):
        """Status and body of the next answer. Raises ConnectionClosed before its end."""
        status = int(self.line().split()[1])
        headers = http.client.parse_headers(self)
        if headers.get("Transfer-Encoding") != "chunked":
            return status, self.read(int(headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.line(), 16):
            body += self.read(size)
            self.line()
        self.line()
        return status, body

    def line(self):
        if not (line := self.readline()):
            raise ConnectionClosed
        return line


def connect(server):
    return socket.create_connection((server.ports.host, server.ports.http), timeout=SECONDS)


@pytest.fixture
def connection(server):
    with connect(server) as connection:
        yield connection


def test_requests_that_come_before_the_answer_to_the_first_are_answered_in_turn(server):
    """Pipelining. On a busy machine 2.51 closes the connection when more arrives while it writes an answer
    (docs/decisions.md): then answers are missing from the end, but none is another's and the server goes on.
    """
    prompts = ["The package manager", "To change the settings,", "The server"]
    expected = [generate(server, prompt, max_tokens=8)["text_output"] for prompt in prompts]
    sent = b"".join(b"".join(request("generate", {"text_input": p, "max_tokens": 8})) for p in prompts)
    with connect(server) as connection:
        connection.sendall(sent)
        got = texts(Answers(connection))
    assert got == expected[: len(got)]
    assert generate(server, prompts[0], max_tokens=8)["text_output"] == expected[0]


def texts(answers):
    """The texts of at most three answers, until the connection is closed."""
    got = []
    with contextlib.suppress(ConnectionClosed, ConnectionResetError):
        while len(got) < 3:
            status, body = answers.next()
            assert status == 200
            got.append(json.loads(body)["text_output"])
    return got


def test_a_client_that_waits_for_100_continue_gets_it_and_then_its_answer(server, connection):
    """curl does so with bodies of more than 1 MB."""
    head, body = request("generate", ASKED, "Expect: 100-continue")
    connection.sendall(head)
    answers = Answers(connection)
    assert answers.next() == (100, b"")
    connection.sendall(body)
    status, text = answers.next()
    assert status == 200
    assert json.loads(text)["text_output"] == generate(server, **ASKED)["text_output"]
