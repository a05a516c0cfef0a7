# SPDX-License-Identifier: Apache-2.0
"""How requests end: by a deadline, with a failing engine, and with which id in the log."""

import concurrent.futures
import json
import re
import shutil
import time

import pytest
from tritonclient.utils import InferenceServerException

from serving.tritonserver import MODEL_REPOSITORY, free_ports, is_ready, running
from tests.asking import GrpcStream, as_infer, generate, generate_stream, joined, post
from tests.conftest import BOTH_ENGINES
from tests.processes import descendants
from tests.scraping import settled
from tests.server.conftest import tapped_server
from tests.waiting import wait_for

pytestmark = BOTH_ENGINES

ASKED = {"text_input": "The server", "max_tokens": 500, "ignore_eos": True}
NEUTRAL = "in ensemble 'ensemble', internal error; the server's log has the details"
PLAIN_NEUTRAL = (500, "internal error; the server's log has the details")


@pytest.mark.parametrize("streamed", [True, False])
def test_a_request_ends_by_its_deadline_with_the_text_so_far(quiet, streamed):
    whole = generate(quiet.server, **{**ASKED, "max_tokens": 100})["text_output"]
    send = generate_stream if streamed else lambda *args, **fields: [generate(*args, **fields)]
    started = time.monotonic()
    responses = send(quiet.server, **ASKED, deadline_ms=1500)  # 75 tokens at most
    assert time.monotonic() - started > 1.4
    assert responses[-1]["finish_reason"] == "timeout"
    text = joined(responses)
    assert text
    assert whole.startswith(text)
    assert sum(response["num_output_tokens"] for response in responses) < 100


def test_a_request_that_waits_ends_by_its_deadline_too(quiet):
    with GrpcStream(quiet.server) as stream:
        stream.start(**ASKED, temperature=1.0, num_return_sequences=4)
        quiet.wait(lambda: quiet.state["running"] == 4)
        answer = generate(quiet.server, **ASKED, deadline_ms=300)
        assert (answer["finish_reason"], answer["text_output"]) == ("timeout", "")
        assert answer["num_output_tokens"] == 0
        quiet.wait(lambda: (quiet.state["running"], quiet.state["waiting"]) == (4, 0))


def test_several_sequences_end_by_their_deadline_each(quiet):
    answer = generate(quiet.server, **ASKED, temperature=1.0, num_return_sequences=3, deadline_ms=300)
    assert answer["finish_reason"] == ["timeout"] * 3


def test_the_setting_s_deadline_bounds_requests_that_set_none(tight, tmp_path):
    with tapped_server(tight, tmp_path, DEADLINE_MS=500, TAP_STEP_SECONDS=0.02) as slow:
        assert generate(slow.server, **ASKED)["finish_reason"] == "timeout"
        asked = {**ASKED, "max_tokens": 60}  # more than a second's worth
        assert generate(slow.server, **asked, deadline_ms=60_000)["finish_reason"] == "length"


def test_when_the_engine_dies_every_open_request_ends_with_one_neutral_line(tight, tmp_path):
    with tapped_server(tight, tmp_path, MAX_WAITING=20, TAP_STEP_SECONDS=0.02) as dying:
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            unary = [pool.submit(post, dying.server, "generate", ASKED) for _ in range(5)]
            streams = [pool.submit(error_of_a_stream, dying.server) for _ in range(5)]
            plain = [pool.submit(plain_infer, dying.server) for _ in range(2)]
            dying.wait(lambda: (dying.state["running"], dying.state["waiting"]) == (4, 8))
            killer = error_of_a_stream(dying.server, request_id="die")
            answers = [json.loads(one.result()[1])["error"] for one in unary]
            answers += [one.result() for one in streams]
        assert {killer, *answers} == {NEUTRAL}
        assert [one.result() for one in plain] == [PLAIN_NEUTRAL] * 2
        dying.wait(dying.is_empty)
        # The engine's process ends, by which newer Tritons than 2.51.0 know that the model is not ready.
        dying.wait(
            lambda: not any("tensorrt_llm" in one.command for one in descendants(dying.server.process.pid))
        )
        gone = "Stub process 'tensorrt_llm_0_0' is not healthy."
        assert error_of_a_stream(dying.server) == f"in ensemble 'ensemble', {gone}"
        assert plain_infer(dying.server) == PLAIN_NEUTRAL
        assert "told to die" in dying.log
        failed = settled(dying.server).value("llm_requests_total", finish_reason="error")
        assert failed == len(answers) + 1 + len(plain) + 1
        line = re.compile(r'^\S+Z request .* finish="error"$', re.MULTILINE)
        dying.wait(lambda: len(line.findall(dying.log)) == failed)
        dying.server.stop(0)  # with a dead stage 2.51.0 takes all of its exit timeout


def plain_infer(server):
    status, text = post(server, "infer", as_infer(**ASKED), model="ensemble_unary")
    return status, json.loads(text)["error"]


def error_of_a_stream(server, request_id=""):
    with GrpcStream(server) as stream, pytest.raises(InferenceServerException) as caught:
        list(stream.ask(**ASKED, stream=True, request_id=request_id))
    return caught.value.message()


@pytest.mark.parametrize("streamed", [True, False])
def test_the_request_id_comes_back_with_every_response(server, streamed):
    with GrpcStream(server) as stream:
        answers = list(stream.ask(text_input="a", max_tokens=50, stream=streamed, request_id="mine-1"))
    assert {answer["id"] for answer in answers} == {"mine-1"}


def changed_postprocessing(folder, config):
    """A model repository whose postprocessing has this in its config.pbtxt instead of its instance group."""
    repository = folder / "models"
    shutil.copytree(MODEL_REPOSITORY, repository, ignore=shutil.ignore_patterns("__pycache__"))
    path = repository / "postprocessing/config.pbtxt"
    text = re.sub(r"^instance_group.*$", "", path.read_text(), flags=re.MULTILINE)
    path.write_text(f"{text}\n{config}\n")
    return repository


def test_a_postprocessing_with_a_queue_that_hides_client_disconnects_is_not_loaded(demo_engine, tmp_path):
    repository, log = changed_postprocessing(tmp_path, "dynamic_batching { }"), tmp_path / "log"
    with log.open("wb") as file, running(demo_engine, free_ports(), file, repository) as server:
        # Not until tritonserver has ended: once another stage was still loading minutes later.
        wait_for(lambda: "postprocessing/config.pbtxt must have no dynamic_batching" in log.read_text())
        assert not is_ready(server.ports.http_url)


def test_several_instances_of_postprocessing_keep_every_stream_s_order(server, demo_engine, tmp_path):
    """Triton gives a stream's pulses to any of them; its chunks go to one."""
    prompts = [f"the {number}" for number in range(32)]
    wanted = [whole_text(server, prompt) for prompt in prompts]
    repository = changed_postprocessing(tmp_path, "instance_group [ { kind: KIND_CPU count: 4 } ]")
    with (
        (tmp_path / "log").open("wb") as file,
        running(demo_engine, free_ports(), file, repository) as several,
    ):
        several.wait_ready()
        with concurrent.futures.ThreadPoolExecutor(len(prompts)) as threads:
            assert [*threads.map(lambda prompt: whole_text(several, prompt), prompts)] == wanted


def whole_text(server, prompt):
    with GrpcStream(server) as stream:
        asked = {"text_input": prompt, "max_tokens": 60, "ignore_eos": True, "stream": True}
        return "".join(answer["text_output"] for answer in stream.ask(**asked))
