# SPDX-License-Identifier: Apache-2.0
"""A client disconnect, or a stop string, frees a request's slots within 1.5 s, or 75 steps of the engine.

The slow server runs 4 sequences, prefills 16 tokens a step, and a step takes 20 ms: a request of 500 tokens
would take ten seconds. Steps are counted, since on a busy machine they take longer as all else does.
"""

import contextlib
import http.client
import json
import time

import pytest
import tritonclient.grpc as grpcclient

from tests.asking import GrpcStream, generate, generate_stream, joined, tensors
from tests.conftest import BOTH_ENGINES
from tests.server.conftest import FREE_SECONDS, FREE_STEPS, STEP_SECONDS

pytestmark = BOTH_ENGINES

ASKED = {"text_input": "The package manager", "max_tokens": 500, "ignore_eos": True}
LONG_PROMPT = {"text_input": "word " * 400, "max_tokens": 100}  # some 25 steps until its first token


class DisconnectingClient:
    """Sends a request and disconnects."""

    model = "ensemble"

    def __init__(self, server, **fields):
        self.server, self.fields = server, fields


class GrpcClient(DisconnectingClient):
    def __init__(self, server, **fields):
        super().__init__(server, **fields)
        self.client = grpcclient.InferenceServerClient(f"{server.ports.host}:{server.ports.grpc}")

    def send(self):
        self.client.start_stream(lambda result, error: None)
        self.client.async_stream_infer(self.model, tensors(**self.fields))


class CancelsGrpc(GrpcClient):
    def disconnect(self):
        self.client.stop_stream(cancel_requests=True)
        self.client.close()


class ClosesTheChannel(GrpcClient):
    def disconnect(self):
        self.client._channel.close()


class CancelsUnaryGrpc(GrpcClient):
    def send(self):
        fields = {name: value for name, value in self.fields.items() if name != "stream"}
        self.call = self.client.async_infer("ensemble_unary", tensors(**fields), lambda result, error: None)

    def disconnect(self):
        self.call.cancel()
        self.client.close()


class DropsHttpStream(DisconnectingClient):
    def send(self):
        ports = self.server.ports
        self.connection = http.client.HTTPConnection(ports.host, ports.http, timeout=60)
        body = json.dumps(self.fields)
        self.connection.request("POST", "/v2/models/ensemble/generate_stream", body)

    def disconnect(self):
        self.connection.close()


CLIENTS = [CancelsGrpc, ClosesTheChannel, CancelsUnaryGrpc, DropsHttpStream]


@contextlib.contextmanager
def a_full_batch(slow):
    """One request that takes all four slots while the context is open."""
    with GrpcStream(slow.server) as stream:
        stream.start(**ASKED, temperature=1.0, num_return_sequences=4)
        slow.wait(lambda: slow.state["running"] == 4)
        yield


@pytest.mark.parametrize("client_class", CLIENTS)
def test_a_client_that_disconnects_while_its_request_waits(quiet, client_class):
    with a_full_batch(quiet):
        client = client_class(quiet.server, **ASKED, stream=True)
        client.send()
        quiet.wait(lambda: quiet.state["waiting"] == 1)
        client.disconnect()
        quiet.wait_freed(FREE_STEPS, lambda: quiet.state["waiting"] == 0)
        assert quiet.state["running"] == 4, "it was given slots before it disconnected"


@pytest.mark.parametrize("client_class", CLIENTS)
def test_a_client_that_disconnects_during_prefill(quiet, client_class):
    client = client_class(quiet.server, **LONG_PROMPT, stream=True, return_log_probs=True)
    client.send()
    quiet.wait(lambda: quiet.state["running"] == 1)
    time.sleep(0.05)
    client.disconnect()
    quiet.wait_freed(FREE_STEPS // 2)  # to its end it would take hardly more than FREE_STEPS


@pytest.mark.parametrize("after", [0.1, 0.107, 0.114])
@pytest.mark.parametrize("client_class", CLIENTS)
def test_a_client_that_disconnects_between_two_chunks(quiet, client_class, after):
    client = client_class(quiet.server, **ASKED, stream=True, return_log_probs=True)
    client.send()
    quiet.wait(lambda: quiet.state["running"] == 1)
    time.sleep(after)
    client.disconnect()
    quiet.wait_freed(FREE_STEPS)


@pytest.mark.parametrize("client_class", [CancelsGrpc, ClosesTheChannel])
def test_a_client_that_disconnects_from_a_unary_request_on_a_grpc_stream(quiet, client_class):
    client = client_class(quiet.server, **ASKED, stream=False)
    client.send()
    quiet.wait(lambda: quiet.state["running"] == 1)
    client.disconnect()
    quiet.wait_freed(FREE_STEPS)


@pytest.mark.parametrize("client_class", CLIENTS)
def test_a_client_that_disconnects_from_a_beam_search(quiet, client_class):
    """It gives no text before its end, so only empty chunks let Triton notice the client disconnect."""
    client = client_class(quiet.server, **ASKED, stream=True, beam_width=3)
    client.send()
    quiet.wait(lambda: quiet.state["running"] == 3)
    client.disconnect()
    quiet.wait_freed(FREE_STEPS)


@pytest.mark.parametrize("client_class", CLIENTS)
def test_a_client_that_disconnects_at_once(quiet, client_class):
    """Before preprocessing, during it, or just after."""
    for delay in (0, 0.001, 0.003, 0.01):
        client = client_class(quiet.server, **ASKED, stream=True)
        client.send()
        time.sleep(delay)
        client.disconnect()
        time.sleep(FREE_SECONDS / 4)
    quiet.wait_freed(FREE_STEPS)
    assert generate(quiet.server, "a", max_tokens=1)["finish_reason"]


def test_a_unary_http_request_whose_client_disconnects_ends_by_its_deadline(quiet):
    """Triton does not notice this client disconnect."""
    ports = quiet.server.ports
    connection = http.client.HTTPConnection(ports.host, ports.http, timeout=60)
    connection.request("POST", "/v2/models/ensemble/generate", json.dumps({**ASKED, "deadline_ms": 800}))
    quiet.wait(lambda: quiet.state["running"] == 1)
    connection.close()
    quiet.wait_freed(FREE_STEPS + int(0.8 / STEP_SECONDS))


def test_a_stop_string_stops_the_engine(quiet):
    whole = joined(generate_stream(quiet.server, **{**ASKED, "max_tokens": 20}))
    stop = whole[4:7]
    with GrpcStream(quiet.server) as stream:
        stopped = list(stream.ask(**ASKED, stream=True, stop_words=[stop], request_id="stop"))
    assert joined(stopped) == whole[: whole.index(stop)]
    assert stopped[-1]["finish_reason"] == "stop"
    quiet.wait_freed(FREE_STEPS)
    assert quiet.parts("stop")[-1]["finish"] == "cancelled"


def test_when_every_sequence_has_its_stop_string_the_engine_stops(quiet):
    """OpenVINO gives several sequences only when all have ended, so this checks their text."""
    asked = {**ASKED, "max_tokens": 30, "temperature": 1.0, "seed": 5, "num_return_sequences": 3}
    whole = generate(quiet.server, **asked)["text_output"]
    stop = whole[1][6:8]
    stopped = generate(quiet.server, **asked, stop_words=[stop])
    assert stopped["text_output"] == [text.partition(stop)[0] for text in whole]
    assert [reason == "stop" for reason in stopped["finish_reason"]] == [stop in text for text in whole]
