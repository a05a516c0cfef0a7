# SPDX-License-Identifier: Apache-2.0
from client.metrics import Metrics
from client.status_command import engine_line

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


def test_the_engine_s_load_is_that_of_all_instances():
    engine = Metrics(TEXT).engine
    assert (engine.running, engine.waiting, engine.instances) == (7, 2, 2)
    assert engine_line(engine).endswith(
        "fp8, on tensorrt_llm, 2 instances: 7 running, 2 waiting; at most 64 run and 256 wait each, "
        "4096 tokens a sequence"
    )


def test_what_waits_in_triton():
    assert Metrics(TEXT).pending == {"ensemble": 5}


def test_a_server_of_somebody_else_has_no_engine():
    assert Metrics("# TYPE x gauge\nx 1\n").engine is None
    assert Metrics("<html>").pending == {}
