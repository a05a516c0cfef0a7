# SPDX-License-Identifier: Apache-2.0
"""Two instances of the engine, each with two GPUs of its own; the engines are the fake TensorRT-LLM."""

import concurrent.futures
import contextlib
import json

import pytest

from llm_ensemble.contract.stream_id import StreamId
from tests.asking import GrpcStream
from tests.fake_engine import fake_engine
from tests.scraping import Counted
from tests.server.conftest import tapped_server

ASKED = {"text_input": "The server", "max_tokens": 300, "ignore_eos": True, "stream": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def two(demo_engine, folder):
    engine = fake_engine(demo_engine, folder / "engine", ranks=2)
    settings = {"GPU_GROUPS": "0,1;2,3", "CUDA_VISIBLE_DEVICES": "4,5,6,7", "TAP_STEP_SECONDS": 0.01}
    with tapped_server(engine, folder, **settings) as two:
        yield two


PROMPTS = ["The package manager", "The server", "To change the settings,", "A file"]


def states(folder):
    return [json.loads((folder / f"tensorrt_llm{i}.json").read_text()) for i in ("", 1)]


def test_each_instance_has_its_own_gpus_before_the_library_is_imported(two, folder):
    two.wait(lambda: (folder / "tensorrt_llm1.json").exists())
    assert [state["gpus"] for state in states(folder)] == ["4,5", "6,7"]


def test_both_instances_serve_and_no_text_is_mixed_with_another(two, folder):
    def text(i):
        with GrpcStream(two.server) as stream:
            asked = {**ASKED, "text_input": PROMPTS[i % 4], "max_tokens": 8}
            return "".join(one["text_output"] for one in stream.ask(**asked, request_id=f"mixed {i}"))

    alone = [text(i) for i in range(4)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        together = list(pool.map(text, range(32)))
    assert together == alone * 8
    chunks = [json.loads(line) for line in (folder / "chunks").read_text().splitlines()]
    served = {StreamId(chunk["stream"]).instance for chunk in chunks if chunk["id"].startswith("mixed")}
    assert served == {0, 1}


def test_each_instance_is_measured_for_itself_and_none_of_its_requests_twice(two):
    def ask(number):
        with GrpcStream(two.server) as stream:
            return sum(
                one["num_output_tokens"] for one in stream.ask(**{**ASKED, "max_tokens": 100 + number})
            )

    with Counted(two.server) as counted, concurrent.futures.ThreadPoolExecutor(8) as pool:
        tokens = sum(pool.map(ask, range(8)))
    by_instance = counted.by("llm_generation_tokens_total", "instance")
    assert set(by_instance) == {"0", "1"}
    assert sum(by_instance.values()) == tokens
    assert counted.value("llm_queue_seconds_count") == counted.value("llm_requests_total") == 8
    assert {one.labels["instance"] for one in counted.after.of("llm_requests_running")} == {"0", "1"}
    assert len(counted.after.of("llm_max_batch_size")) == 1


def test_a_client_disconnect_reaches_the_instance_that_runs_the_stream(two, folder):
    two.wait(lambda: not any(state["open"] for state in states(folder)))
    with contextlib.ExitStack() as streams:
        for i in range(8):
            streams.enter_context(GrpcStream(two.server)).start(**ASKED, request_id=f"left {i}")
        two.wait(lambda: sum(state["running"] for state in states(folder)) == 8)
        assert all(state["running"] for state in states(folder)), "one instance has them all"
    two.wait(lambda: not any(state["open"] for state in states(folder)))
    assert [two.parts(f"left {i}")[-1]["finish"] for i in range(8)] == ["cancelled"] * 8
