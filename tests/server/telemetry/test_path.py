# SPDX-License-Identifier: Apache-2.0
"""How many chunks a request takes through the stages, on an engine of a known pace."""

import concurrent.futures
import json
import urllib.request

import msgspec
import pytest
import tritonclient.grpc as grpcclient

from benchmarks.pace.make_engine import LIMITS, make_pace_engine
from serving.tritonserver import free_ports, running
from tests.asking import GrpcStream, as_infer, post, tensors
from tests.scraping import scrape
from tests.waiting import wait_for

INTERVAL_MS = 10
RUNNING = 48  # far more than the threads that Triton's Python backend has for a model
STAGES = ("preprocessing", "tensorrt_llm", "postprocessing")
ASKED = {"text_input": "the of and to in is that it was for on are as with they", "ignore_eos": True}


@pytest.fixture(scope="module")
def paced(tmp_path_factory):
    """A server with slots for RUNNING requests and no queue."""
    folder = tmp_path_factory.mktemp("paced")
    limits = msgspec.structs.replace(LIMITS, max_batch_size=RUNNING)
    with pytest.MonkeyPatch.context() as patch, (folder / "log").open("wb") as log:
        patch.setenv("PACE_TTFT_MS", "30")
        patch.setenv("PACE_INTERVAL_MS", str(INTERVAL_MS))
        patch.setenv("MAX_WAITING", "0")
        with running(make_pace_engine(folder / "pace", limits), free_ports(), log) as server:
            server.wait_ready()
            yield server


def requests_seen(server, model="postprocessing"):
    """Return how many requests a model has had from Triton; postprocessing's are the pulses of streams."""
    url = f"{server.ports.http_url}/v2/models/{model}/stats"
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)["model_stats"][0]["inference_count"]


def responses(server, tokens):
    """Read one stream to its end; return its responses."""
    with GrpcStream(server) as stream:
        return list(stream.ask(**ASKED, max_tokens=tokens, stream=True))


def test_a_single_stream_gets_each_token_by_itself(paced):
    counts = [one["num_output_tokens"] for one in responses(paced, 60)]
    assert sum(counts) == 60
    # Other work on the machine brings two or three at once; if they were gathered, it would be twelve.
    assert len(counts) > 15


def test_many_streams_take_fewer_chunks_than_tokens(paced):
    before = requests_seen(paced)
    with concurrent.futures.ThreadPoolExecutor(RUNNING) as threads:
        counts = list(threads.map(lambda _: responses(paced, 200), range(RUNNING)))
    tokens = sum(one["num_output_tokens"] for stream in counts for one in stream)
    assert tokens == RUNNING * 200
    assert requests_seen(paced) - before < tokens / 3


def test_a_plain_infer_is_one_request_of_triton_s_however_long_it_takes(paced):
    """Each more would cost as much as all of it (docs/performance.md)."""
    models = ("ensemble", "ensemble_unary", *STAGES)
    before = {model: requests_seen(paced, model) for model in models}
    status, text = post(paced, "infer", as_infer(**ASKED, max_tokens=150), model="ensemble_unary")
    assert status == 200, text
    more = {model: requests_seen(paced, model) - before[model] for model in models}
    assert {model for model, count in more.items() if count} == {"ensemble_unary"}
    assert more["ensemble_unary"] == 1


def test_as_many_unary_requests_run_at_a_time_as_the_engine_has_slots(paced):
    """Once each held a thread of Triton's Python backend; the others waited for these, outside the engine."""
    address = f"127.0.0.1:{paced.ports.grpc}"
    errors = []
    with grpcclient.InferenceServerClient(address) as client:
        for _ in range(RUNNING):
            asked = tensors(**ASKED, max_tokens=600)
            client.async_infer("ensemble_unary", asked, callback=lambda result, error: errors.append(error))
        wait_for(lambda: scrape(paced).value("llm_requests_running") == RUNNING)
        wait_for(lambda: len(errors) == RUNNING)
    assert errors == [None] * RUNNING
