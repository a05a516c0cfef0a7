# SPDX-License-Identifier: Apache-2.0
import pytest

from llm_ensemble_client.address import parse_url
from llm_ensemble_client.cli.status import engine_line
from llm_ensemble_client.metrics import Metrics, metrics_url

TEXT = """\
# HELP llm_engine_info What is served; always 1
# TYPE llm_engine_info gauge
llm_engine_info{engine="tensorrt_llm",model="a \\"b\\", c",precision="fp8"} 1
llm_requests_running{instance="0"} 3
llm_requests_running{instance="1"} 4
llm_requests_waiting{instance="0"} 0
llm_requests_waiting{instance="1"} 2
llm_max_batch_size 64
llm_max_waiting 256
llm_max_seq_len 4096
nv_inference_pending_request_count{model="ensemble",version="1"} 5
nv_energy_consumption 1.5e+09
"""


def test_the_load_is_summed_over_all_instances():
    engine = Metrics(TEXT).engine
    assert (engine.running, engine.waiting, engine.instances) == (7, 2, 2)
    assert engine_line(engine).endswith(
        "fp8, on tensorrt_llm, 2 instances: 7 running, 2 waiting; at most 64 run and 256 wait each, "
        "4096 tokens a sequence"
    )


def test_requests_that_wait_in_triton():
    assert Metrics(TEXT).pending == {"ensemble": 5}


def test_another_kind_of_server_has_no_engine():
    assert Metrics("# TYPE x gauge\nx 1\n").engine is None
    assert Metrics("<html>").pending == {}


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("localhost:8000", 8002),
        ("grpc://localhost", 8002),
        ("http://localhost:9000/llm", 9002),
        ("grpc://localhost:9001", 9002),
        ("https://localhost", 8002),
        ("http://localhost:80", 8002),
        ("http://localhost:65535", 8002),
    ],
)
def test_the_metrics_are_on_the_port_after_the_others(url, port):
    assert metrics_url(parse_url(url)) == f"http://localhost:{port}/metrics"
