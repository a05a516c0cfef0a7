# SPDX-License-Identifier: Apache-2.0
"""Who no longer wants a text stops the engine: a client that left, a stop string that was found.

The tapped engine step takes 20 ms a token for these requests, ten seconds for all they may have.
"""

import http.client
import json
import time

from tests.asking import GrpcStream, joined

ASKED = {"text_input": "The package manager", "max_tokens": 500, "temperature": 3.0, "seed": 1}


def last_finish(chunks, request_id):
    """Why the engine ended a request, once it has, within five seconds."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        came = chunks(request_id)
        if came and came[-1]["finish"]:
            return came[-1]["finish"]
        time.sleep(0.05)
    return "still running"


def test_a_grpc_client_that_cancels_stops_the_engine(tapped):
    server, chunks = tapped
    with GrpcStream(server) as stream:
        next(stream.ask(**ASKED, stream=True, request_id="slow-grpc"))
    assert last_finish(chunks, "slow-grpc") == "cancelled"


def test_an_http_client_that_drops_its_stream_stops_the_engine(tapped):
    server, chunks = tapped
    connection = http.client.HTTPConnection(server.ports.host, server.ports.http, timeout=30)
    body = json.dumps({**ASKED, "stream": True})
    connection.request("POST", "/v2/models/ensemble/generate_stream", body)
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.readline()
    answer.close()
    connection.close()
    assert last_finish(chunks, "") == "cancelled"


def test_a_stop_string_stops_the_engine(tapped):
    server, chunks = tapped
    with GrpcStream(server) as stream:
        whole = joined(stream.ask(**{**ASKED, "max_tokens": 20}, request_id="whole"))
        stop = whole[4:7]
        stopped = list(stream.ask(**ASKED, stream=True, stop_words=[stop], request_id="slow-stop"))
    assert joined(stopped) == whole[: whole.index(stop)]
    assert stopped[-1]["finish_reason"] == "stop"
    assert last_finish(chunks, "slow-stop") == "cancelled"
