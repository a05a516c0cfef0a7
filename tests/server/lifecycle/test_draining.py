# SPDX-License-Identifier: Apache-2.0
"""Clients that keep connections to a draining server without a request: `serve` ends with 0 all the same."""

import contextlib
import http.client
import json
import signal
import threading
import time

import pytest
import tritonclient.grpc as grpcclient

from benchmarks.pace.make_engine import make_pace_engine
from llm_ensemble_client import Client
from serving.draining import GRPC_WAITS
from serving.installation import find_installation
from serving.listening import is_connected
from serving.server_options import DRAIN_SECONDS
from tests.asking import GrpcStream, generate, tensor, tensors
from tests.server.serving import ready_serve, served
from tests.waiting import wait_for

ASKED = {"text_input": "The server", "max_tokens": 4}


def idle_http_connection(server):
    """A client with a connection pool: it has read the response and leaves the connection open."""
    connection = http.client.HTTPConnection(server.ports.host, server.ports.http, timeout=60)
    connection.request("POST", "/v2/models/ensemble/generate", json.dumps(ASKED))
    assert connection.getresponse().read()
    return contextlib.closing(connection)


def cancelled_after_an_error(server):
    """On 2.51.0 a gRPC stream cancelled after an error leaves a reference on its model."""
    for model in ("ensemble", "ensemble_unary"):
        client = grpcclient.InferenceServerClient(f"{server.ports.host}:{server.ports.grpc}")
        refused = threading.Event()
        client.start_stream(lambda result, error, refused=refused: error and refused.set())
        client.async_stream_infer(model, [*tensors(**ASKED), tensor("nonsense", [1], "INT32")])
        assert refused.wait(60)
        client.stop_stream(cancel_requests=True)
        client.close()
    return contextlib.nullcontext()


@pytest.fixture
def pace(tmp_path):
    """An engine that gives a token each 20 ms."""
    return make_pace_engine(tmp_path / "engine")


@pytest.mark.parametrize("client", [idle_http_connection, cancelled_after_an_error])
def test_without_a_request_in_flight_no_client_holds_up_draining(pace, tmp_path, client):
    log = tmp_path / "log"
    with served(pace, log, PACE_INTERVAL_MS=20) as server, client(server):
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0, log.read_text()[-3000:]
        assert time.monotonic() - started < DRAIN_SECONDS
    assert "serve: ended tritonserver, which waited for clients with no request in flight" in log.read_text()


def test_a_request_in_flight_is_served_to_its_end_while_another_connection_is_idle(pace, tmp_path):
    """The stream lasts some nine seconds, longer than an idle server is left running."""
    tokens, log = 450, tmp_path / "log"
    with served(pace, log, PACE_INTERVAL_MS=20) as server, idle_http_connection(server):
        with GrpcStream(server) as stream:
            stream.start(text_input="The server", max_tokens=tokens, ignore_eos=True, stream=True)
            counts = []
            for result in stream.results():
                if not counts:
                    server.process.send_signal(signal.SIGTERM)
                counts.append(result.as_numpy("num_output_tokens").item())
        assert server.process.wait(60) == 0, log.read_text()[-3000:]
    assert sum(counts) == tokens


def begin(stack, url, tokens):
    """Begin a stream that is closed with the stack; return it once its first text is here."""
    client = stack.enter_context(Client(url, timeout=60, retries=False))
    stream = client.stream("The server", max_tokens=tokens, ignore_eos=True)
    next(stream)
    return stream


def count(stream):
    """Read a stream to its end and return its tokens."""
    for _ in stream:
        pass
    return stream.completion.num_output_tokens


def test_streams_of_both_protocols_are_served_to_their_end(pace, tmp_path):
    """Those over HTTP end first: tritonserver waits for their connections, and serves gRPC meanwhile."""
    with ready_serve(pace, tmp_path / "log") as server, contextlib.ExitStack() as stack:
        ports = server.server.ports
        by_grpc = [begin(stack, f"grpc://{ports.grpc_netloc}", 200) for _ in range(4)]
        with contextlib.ExitStack() as short:
            by_http = [begin(short, ports.http_url, 100) for _ in range(4)]
            server.server.process.send_signal(signal.SIGTERM)
            assert [count(stream) for stream in by_http] == [100] * 4
        assert [count(stream) for stream in by_grpc] == [200] * 4
        stack.close()
        assert server.server.process.wait(60) == 0, server.log_tail
    assert "had not ended" not in server.log_tail


@pytest.mark.skipif(
    not find_installation().is_before(*GRPC_WAITS), reason="this tritonserver waits for gRPC by itself"
)
def test_until_grpc_streams_have_ended_new_requests_are_served_and_a_second_signal_changes_nothing(
    pace, tmp_path
):
    with ready_serve(pace, tmp_path / "log") as server, contextlib.ExitStack() as stack:
        stream = begin(stack, f"grpc://{server.server.ports.grpc_netloc}", 400)
        server.server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "serve: draining" in server.log_tail)
        assert generate(server.server, "The server", max_tokens=2)["num_output_tokens"] == 2
        server.server.process.send_signal(signal.SIGTERM)
        assert count(stream) == 400
        stack.close()
        assert server.server.process.wait(60) == 0, server.log_tail


def test_an_idle_grpc_connection_does_not_hold_up_draining(pace, tmp_path):
    with ready_serve(pace, tmp_path / "log") as server, contextlib.ExitStack() as stack:
        stream = begin(stack, f"grpc://{server.server.ports.grpc_netloc}", 4)
        assert count(stream) == 4
        assert is_connected(server.server.ports.grpc)
        server.server.process.send_signal(signal.SIGTERM)
        assert server.server.process.wait(60) == 0, server.log_tail
    assert "had not ended" not in server.log_tail
