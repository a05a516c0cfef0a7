# SPDX-License-Identifier: Apache-2.0
"""Who no longer wants a text frees its place within a second: a client that left, a stop string found.

The slow server runs 4 sequences, reads 16 tokens of a prompt a step, and a step takes 20 ms: ten seconds for
all that these requests may have.
"""

import contextlib
import http.client
import json
import time

import pytest
import tritonclient.grpc as grpcclient

from tests.asking import GrpcStream, generate, generate_stream, joined, tensors
from tests.conftest import BOTH_ENGINES

pytestmark = BOTH_ENGINES

SECONDS = 1.0
ASKED = {"text_input": "The package manager", "max_tokens": 500, "ignore_eos": True}
LONG_PROMPT = {"text_input": "word " * 400, "max_tokens": 20}  # some 25 steps until its first token


class Leaver:
    """Begins to ask and leaves when told to."""

    model = "ensemble"

    def __init__(self, server, **fields):
        self.server, self.fields = server, fields


class GrpcLeaver(Leaver):
    def __init__(self, server, **fields):
        super().__init__(server, **fields)
        self.client = grpcclient.InferenceServerClient(f"{server.ports.host}:{server.ports.grpc}")

    def ask(self):
        self.client.start_stream(lambda result, error: None)
        self.client.async_stream_infer(self.model, tensors(**self.fields))


class CancelsGrpc(GrpcLeaver):
    def leave(self):
        self.client.stop_stream(cancel_requests=True)
        self.client.close()


class ClosesTheChannel(GrpcLeaver):
    def leave(self):
        self.client._channel.close()


class CancelsUnaryGrpc(GrpcLeaver):
    def ask(self):
        fields = {name: value for name, value in self.fields.items() if name != "stream"}
        self.call = self.client.async_infer("ensemble_unary", tensors(**fields), lambda result, error: None)

    def leave(self):
        self.call.cancel()
        self.client.close()


class DropsHttpStream(Leaver):
    def ask(self):
        ports = self.server.ports
        self.connection = http.client.HTTPConnection(ports.host, ports.http, timeout=30)
        body = json.dumps(self.fields)
        self.connection.request("POST", "/v2/models/ensemble/generate_stream", body)

    def leave(self):
        self.connection.close()


LEAVERS = [CancelsGrpc, ClosesTheChannel, CancelsUnaryGrpc, DropsHttpStream]


@contextlib.contextmanager
def a_full_batch(slow):
    """One request that takes all four places until the block is left."""
    with GrpcStream(slow.server) as stream:
        stream.start(**ASKED, temperature=1.0, num_return_sequences=4)
        slow.wait(lambda: slow.state["running"] == 4)
        yield


@pytest.mark.parametrize("leaver", LEAVERS)
def test_a_client_that_leaves_while_it_waits(quiet, leaver):
    with a_full_batch(quiet):
        asking = leaver(quiet.server, **ASKED, stream=True)
        asking.ask()
        quiet.wait(lambda: quiet.state["waiting"] == 1)
        asking.leave()
        assert quiet.wait(lambda: quiet.state["waiting"] == 0) < SECONDS
        assert quiet.state["running"] == 4, "it was let in before it left"


@pytest.mark.parametrize("leaver", LEAVERS)
def test_a_client_that_leaves_while_its_prompt_is_read(quiet, leaver):
    asking = leaver(quiet.server, **LONG_PROMPT, stream=True, return_log_probs=True)
    asking.ask()
    quiet.wait(lambda: quiet.state["running"] == 1)
    time.sleep(0.05)
    asking.leave()
    assert quiet.wait(quiet.is_empty) < SECONDS


@pytest.mark.parametrize("after", [0.1, 0.107, 0.114])
@pytest.mark.parametrize("leaver", LEAVERS)
def test_a_client_that_leaves_between_two_chunks(quiet, leaver, after):
    asking = leaver(quiet.server, **ASKED, stream=True, return_log_probs=True)
    asking.ask()
    quiet.wait(lambda: quiet.state["running"] == 1)
    time.sleep(after)
    asking.leave()
    assert quiet.wait(quiet.is_empty) < SECONDS


@pytest.mark.parametrize("leaver", [CancelsGrpc, ClosesTheChannel])
def test_a_client_that_leaves_a_plain_request_on_a_grpc_stream(quiet, leaver):
    asking = leaver(quiet.server, **ASKED, stream=False)
    asking.ask()
    quiet.wait(lambda: quiet.state["running"] == 1)
    asking.leave()
    assert quiet.wait(quiet.is_empty) < SECONDS


@pytest.mark.parametrize("leaver", LEAVERS)
def test_a_client_that_leaves_a_beam_search(quiet, leaver):
    """Nothing comes of it before its end, so only empty chunks can show that the client left."""
    asking = leaver(quiet.server, **ASKED, stream=True, beam_width=3)
    asking.ask()
    quiet.wait(lambda: quiet.state["running"] == 3)
    asking.leave()
    assert quiet.wait(quiet.is_empty) < SECONDS


@pytest.mark.parametrize("leaver", LEAVERS)
def test_a_client_that_leaves_at_once(quiet, leaver):
    """Before preprocessing, in it, or just after."""
    for delay in (0, 0.001, 0.003, 0.01):
        asking = leaver(quiet.server, **ASKED, stream=True)
        asking.ask()
        time.sleep(delay)
        asking.leave()
        time.sleep(SECONDS / 4)
    assert quiet.wait(quiet.is_empty) < SECONDS
    assert generate(quiet.server, "a", max_tokens=1)["finish_reason"]


def test_a_plain_http_client_that_left_is_bounded_by_its_deadline(quiet):
    """Triton does not notice that it left."""
    ports = quiet.server.ports
    connection = http.client.HTTPConnection(ports.host, ports.http, timeout=30)
    connection.request("POST", "/v2/models/ensemble/generate", json.dumps({**ASKED, "deadline_ms": 800}))
    quiet.wait(lambda: quiet.state["running"] == 1)
    connection.close()
    assert quiet.wait(quiet.is_empty) < 0.8 + SECONDS


def test_a_stop_string_stops_the_engine(quiet):
    whole = joined(generate_stream(quiet.server, **{**ASKED, "max_tokens": 20}))
    stop = whole[4:7]
    with GrpcStream(quiet.server) as stream:
        stopped = list(stream.ask(**ASKED, stream=True, stop_words=[stop], request_id="stop"))
    assert joined(stopped) == whole[: whole.index(stop)]
    assert stopped[-1]["finish_reason"] == "stop"
    assert quiet.wait(quiet.is_empty) < SECONDS
    assert quiet.parts("stop")[-1]["finish"] == "cancelled"


def test_when_every_sequence_has_its_stop_string_the_engine_stops(quiet):
    """Of several sequences OpenVINO gives nothing before all have ended, so this is about their text."""
    asked = {**ASKED, "max_tokens": 30, "temperature": 1.0, "seed": 5, "num_return_sequences": 3}
    whole = generate(quiet.server, **asked)["text_output"]
    stop = whole[1][6:8]
    stopped = generate(quiet.server, **asked, stop_words=[stop])
    assert stopped["text_output"] == [text.partition(stop)[0] for text in whole]
    assert [reason == "stop" for reason in stopped["finish_reason"]] == [stop in text for text in whole]
