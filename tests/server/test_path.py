# SPDX-License-Identifier: Apache-2.0
"""How much travels on the path, on an engine whose pace is known: counts, which no other work changes."""

import concurrent.futures
import json
import urllib.request

import msgspec
import pytest
import tritonclient.grpc as grpcclient

from benchmarks.pace_engine import LIMITS, make_pace_engine
from build_scripts.tritonserver import free_ports, running
from tests.asking import GrpcStream, as_infer, post, tensors

INTERVAL_MS = 10
RUNNING = 48  # more than the 32 threads that Triton gives a model when nobody says otherwise
ASKED = {"text_input": "the of and to in is that it was for on are as with they", "ignore_eos": True}


@pytest.fixture(scope="module")
def paced(tmp_path_factory):
    """A server with places for RUNNING requests and nobody waiting."""
    folder = tmp_path_factory.mktemp("paced")
    limits = msgspec.structs.replace(LIMITS, max_batch_size=RUNNING)
    with pytest.MonkeyPatch.context() as patch, (folder / "log").open("wb") as log:
        patch.setenv("PACE_TTFT_MS", "30")
        patch.setenv("PACE_INTERVAL_MS", str(INTERVAL_MS))
        patch.setenv("MAX_WAITING", "0")
        with running(make_pace_engine(folder / "pace", limits), free_ports(), log) as server:
            server.wait_ready()
            yield server


def chunks_seen(server):
    """Chunks that postprocessing has had."""
    url = f"{server.ports.http_url}/v2/models/postprocessing/stats"
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)["model_stats"][0]["inference_count"]


def responses(server, tokens):
    """One stream to its end; its responses."""
    with GrpcStream(server) as stream:
        return list(stream.ask(**ASKED, max_tokens=tokens, stream=True))


def test_a_stream_that_is_alone_gets_each_token_by_itself(paced):
    counts = [one["num_output_tokens"] for one in responses(paced, 60)]
    assert sum(counts) == 60
    # A moment in which the machine does something else may bring two at once, not more than now and then.
    assert len(counts) > 45


def test_many_streams_travel_in_fewer_chunks_than_tokens(paced):
    before = chunks_seen(paced)
    with concurrent.futures.ThreadPoolExecutor(RUNNING) as threads:
        counts = list(threads.map(lambda _: responses(paced, 200), range(RUNNING)))
    tokens = sum(one["num_output_tokens"] for stream in counts for one in stream)
    assert tokens == RUNNING * 200
    assert chunks_seen(paced) - before < tokens / 3


def test_a_plain_infer_is_one_chunk_however_long_it_takes(paced):
    before = chunks_seen(paced)
    status, text = post(paced, "infer", as_infer(**ASKED, max_tokens=150), model="ensemble_unary")
    assert status == 200, text
    assert chunks_seen(paced) - before == 1


def test_as_many_plain_infers_run_at_a_time_as_the_engine_has_places(paced):
    """Triton's Python backend lets 32 through unless told otherwise; the rest would end after this."""
    address = f"127.0.0.1:{paced.ports.grpc}"
    errors = []
    with grpcclient.InferenceServerClient(address) as client:
        for _ in range(RUNNING - 1):
            asked = tensors(**ASKED, max_tokens=300)
            client.async_infer("ensemble_unary", asked, callback=lambda result, error: errors.append(error))
        assert len(responses(paced, 400)) > 1  # runs longer, and began later
        assert errors == [None] * (RUNNING - 1)
