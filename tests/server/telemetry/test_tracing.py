# SPDX-License-Identifier: Apache-2.0
"""The traces that a collector gets; the collector is a fake, the exporter is tritonserver's own."""

import http.client
import json

import pytest

from serving.tritonserver import free_ports, running
from tests.asking import GrpcStream, as_infer, generate
from tests.server.collector import collector

STAGES = {"preprocessing", "tensorrt_llm", "postprocessing"}
CALLERS_SPAN = "00f067aa0ba902b7"


def traceparent(number, sampled=True):
    return {"traceparent": f"00-{number:032x}-{CALLERS_SPAN}-{int(sampled):02}"}


def ask(server, headers, path="ensemble/generate", body=None):
    connection = http.client.HTTPConnection(server.ports.host, server.ports.http, timeout=60)
    body = body or {"text_input": "The server", "max_tokens": 4}
    connection.request("POST", f"/v2/models/{path}", json.dumps(body), headers)
    assert connection.getresponse().read()
    connection.close()


@pytest.fixture(scope="module")
def collected(demo_engine, tmp_path_factory):
    """All traces of a few requests to a server that traces one of a hundred."""
    log = tmp_path_factory.mktemp("traced") / "log"
    with (
        collector() as running_collector,
        log.open("wb") as file,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        monkeypatch.setenv("TRACE_URL", running_collector.url)
        monkeypatch.setenv("TRACE_RATE", "100")
        with running(demo_engine, free_ports(), file) as server:
            server.wait_ready()
            for number, sampled in ((1, True), (2, False)):
                ask(server, traceparent(number, sampled))
            infer = as_infer(text_input="The server", max_tokens=4)
            ask(server, traceparent(3), "ensemble_unary/infer", infer)
            with GrpcStream(server) as stream:
                list(stream.ask(text_input="The server", max_tokens=200, ignore_eos=True, stream=True))
            for _ in range(196):
                generate(server, "The server", max_tokens=1)
        # The server has ended and exported all its traces.
        yield running_collector


def test_one_trace_shows_the_three_stages_of_a_request(collected):
    trace = collected.trace(f"{1:032x}")
    assert set(trace) == {"InferRequest", "ensemble", "compute", *STAGES}
    assert {trace[stage].parent for stage in STAGES} == {trace["ensemble"].id}
    assert trace["ensemble"].parent == trace["InferRequest"].id
    assert trace["ensemble"].start <= trace["preprocessing"].start
    assert trace["preprocessing"].start < trace["tensorrt_llm"].start < trace["postprocessing"].start
    assert trace["postprocessing"].end <= trace["ensemble"].end
    assert all(resource["service.name"] == "llm-ensemble" for resource in collected.resources)


def test_a_caller_s_trace_goes_on_whether_it_is_sampled_or_not(collected):
    for number in (1, 2):
        assert collected.trace(f"{number:032x}")["InferRequest"].parent == CALLERS_SPAN


def test_of_requests_without_a_trace_one_in_so_many_begins_one(collected):
    begun = {span.trace for span in collected.spans if span.name == "InferRequest" and not span.parent}
    assert len(begun) in (1, 2)


def test_a_unary_request_shows_the_forwarding_stage_alone(collected):
    assert set(collected.trace(f"{3:032x}")) == {"InferRequest", "ensemble_unary", "compute"}


def test_no_text_of_a_request_is_in_a_trace(collected):
    assert "The server" not in repr(collected.spans)
