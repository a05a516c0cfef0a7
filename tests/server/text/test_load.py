# SPDX-License-Identifier: Apache-2.0
"""So many run, so many wait, the next is refused at once, and every request ends."""

import concurrent.futures
import contextlib
import json

import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from tests.asking import GrpcStream, as_infer, post, tensors
from tests.conftest import BOTH_ENGINES

pytestmark = BOTH_ENGINES

FULL = "Exceeds maximum queue size: 4 running, 4 waiting; try again later"
ASKED = {"text_input": "The server", "max_tokens": 500, "ignore_eos": True}


@contextlib.contextmanager
def eight_requests(slow):
    """As many as run and wait, until the block is left."""
    with contextlib.ExitStack() as stack:
        for i in range(8):
            stream = stack.enter_context(GrpcStream(slow.server))
            stream.start(**ASKED, temperature=1.0, seed=i, stream=True)
        slow.wait(lambda: (slow.state["running"], slow.state["waiting"]) == (4, 4))
        yield


def test_the_next_request_is_refused_and_told_the_load(quiet):
    with eight_requests(quiet):
        # On 2.51.0 /generate answers every error with 400, /infer with the one its code stands for.
        status, text = post(quiet.server, "generate", ASKED)
        assert (status, json.loads(text)["error"]) == (400, f"in ensemble 'ensemble', {FULL}")
        status, text = post(quiet.server, "infer", as_infer(**ASKED), model="ensemble_unary")
        assert (status, json.loads(text)["error"]) == (503, FULL)
        with GrpcStream(quiet.server) as stream, pytest.raises(InferenceServerException, match=FULL):
            list(stream.ask(**ASKED))
        address = f"{quiet.server.ports.host}:{quiet.server.ports.grpc}"
        with grpcclient.InferenceServerClient(address) as client:
            with pytest.raises(InferenceServerException) as caught:
                client.infer("ensemble_unary", tensors(**ASKED))
            assert caught.value.status() == "StatusCode.UNAVAILABLE"
        assert (quiet.state["running"], quiet.state["waiting"]) == (4, 4)


def test_at_twice_the_limit_every_request_ends_by_an_answer_or_a_refusal(quiet):
    def ask(i):
        return post(quiet.server, "generate", {**ASKED, "max_tokens": 30, "text_input": f"Number {i}"})

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(ask, range(64)))
    refused = [text for status, text in answers if status != 200]
    served = [json.loads(text) for status, text in answers if status == 200]
    assert all("Exceeds maximum queue size" in text for text in refused)
    assert all(answer["num_output_tokens"] == 30 for answer in served)
    assert len(served) >= 8
    assert refused, "the limit was never reached: ask for more"


def test_many_plain_infers_share_the_batch(quiet):
    """ensemble_unary forwards and does not block: eight at once are in the engine together."""
    address = f"{quiet.server.ports.host}:{quiet.server.ports.grpc}"

    def ask(i):
        with grpcclient.InferenceServerClient(address) as client:
            result = client.infer(
                "ensemble_unary", tensors(**{**ASKED, "max_tokens": 120}), request_id=str(i)
            )
            return result.get_response().id, result.as_numpy("text_output")[0]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, i) for i in range(8)]
        quiet.wait(lambda: (quiet.state["running"], quiet.state["waiting"]) == (4, 4))
        answers = [one.result() for one in asked]
    assert [request_id for request_id, _ in answers] == [str(i) for i in range(8)]
    assert len({text for _, text in answers}) == 1


def test_a_request_of_several_sequences_takes_as_many_places(quiet):
    with GrpcStream(quiet.server) as stream:
        stream.start(**ASKED, temperature=1.0, num_return_sequences=3)
        quiet.wait(lambda: quiet.state["running"] == 3)
        with GrpcStream(quiet.server) as other:
            other.start(**ASKED, beam_width=4)
            quiet.wait(lambda: quiet.state["waiting"] == 4)
