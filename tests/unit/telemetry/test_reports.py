# SPDX-License-Identifier: Apache-2.0
"""What is measured of requests, and what the log has of them."""

import json
import time

import pytest

from llm_ensemble.contract.request import TextOptions
from llm_ensemble.engines.protocol import EngineStats
from llm_ensemble.errors import EngineError, Overloaded, RequestError
from llm_ensemble.postprocessing.postprocessor import Text
from llm_ensemble.postprocessing.sequence import Scores, SequenceText
from llm_ensemble.telemetry import request_metrics as request_report
from llm_ensemble.telemetry.engine_metrics import EngineReport
from llm_ensemble.telemetry.metrics import Metrics
from llm_ensemble.telemetry.rejections import Rejections
from llm_ensemble.telemetry.request_metrics import RequestReports
from tests.unit.telemetry.test_metrics import Families


@pytest.fixture
def families():
    return Families()


@pytest.fixture
def metrics(families):
    return Metrics(families)


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until told."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(request_report, "time", clock)
    return clock


def text(*tokens, words=""):
    return Text([SequenceText(words, "", n, Scores(), 0.0) for n in tokens], 3, False)


def lines(capfd):
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_tokens_that_come_together_share_the_gap_before_them(families, metrics, clock, capfd):
    report = RequestReports(metrics, "json").begin(TextOptions(True, [], "", 3, arrived=99.0))
    for moment, tokens in ((100.0, 0), (100.5, 2), (101.0, 1), (103.0, 4), (103.5, 0)):
        clock.now = moment
        report.on_response(text(tokens))
    report.on_finish(["length"], "mine")
    metrics.flush()
    assert families.seen("llm_time_to_first_token_seconds") == [1.5]
    assert families.seen("llm_inter_token_latency_seconds") == [0.5, 0.5]
    assert families.seen("llm_request_duration_seconds") == [4.5]
    assert families.seen("llm_completion_length_tokens") == [7]
    (line,) = lines(capfd)
    assert (line["id"], line["tokens_in"], line["tokens_out"]) == ("mine", 3, 7)
    assert (line["ttft_ms"], line["duration_ms"], line["finish"]) == (1500.0, 4500.0, "length")


def test_a_unary_request_has_no_first_token_of_its_own(families, metrics, clock, capfd):
    report = RequestReports(metrics, "json").begin(TextOptions(False, [], "", 3, arrived=99.0))
    report.on_response(text(5))
    report.on_finish(["stop"], "mine")
    metrics.flush()
    assert families.seen("llm_time_to_first_token_seconds") == []
    assert families.seen("llm_inter_token_latency_seconds") == []
    assert families.seen("llm_request_duration_seconds") == [1.0]
    assert lines(capfd)[0]["ttft_ms"] is None


@pytest.mark.parametrize(
    ("finishes", "told"),
    [
        (["stop", "length"], "length"),
        (["length", "timeout"], "timeout"),
        (["stop", "cancelled"], "cancelled"),
        (["stop", "stop"], "stop"),
    ],
)
def test_a_request_of_several_sequences_is_one_request_with_one_reason(families, metrics, finishes, told):
    report = RequestReports(metrics, "json").begin(TextOptions(True, [], "", 3, 2))
    report.on_response(text(2, 3))
    report.on_finish(finishes, "mine")
    metrics.flush()
    assert families.value("llm_requests_total", finish_reason=told) == 1
    assert sum(metric.value for metric in families["llm_requests_total"].metrics.values()) == 1
    assert families.seen("llm_completion_length_tokens") == [5]


def test_no_text_in_the_log_unless_a_setting_says_so(metrics, capfd):
    options = TextOptions(True, [], "the prompt", 3, prompt="the prompt")
    for log_text in (False, True):
        report = RequestReports(metrics, "json", log_text).begin(options)
        report.on_response(text(1, words="the prompt and"))
        report.on_response(text(1, words=" more"))
        report.on_finish(["stop"], "mine")
    without, with_text = lines(capfd)
    assert not {"prompt", "texts"} & set(without)
    assert (with_text["prompt"], with_text["texts"]) == ("the prompt", [" and more"])


def test_the_log_has_the_adapter_of_a_request_that_named_one(metrics, capfd):
    for name in ("", "red"):
        RequestReports(metrics, "json").begin(TextOptions(True, [], "", 3, lora=name)).on_finish(
            ["stop"], "x"
        )
    without, adapted = lines(capfd)
    assert "lora" not in without
    assert adapted["lora"] == "red"


def test_no_client_s_word_ends_its_place_in_a_line(metrics, capfd):
    report = RequestReports(metrics, "text").begin(TextOptions(True, [], "", 3))
    report.on_finish(["stop"], 'a" finish="x"\nrequest \x1b[31m')
    (line,) = capfd.readouterr().err.splitlines()
    assert 'request id="a\\" finish=\\"x\\"\\nrequest \\u001b[31m" tokens_in=3' in line


def test_what_the_caller_did_wrong_what_found_no_room_and_what_failed(families, metrics, capfd):
    refusals = Rejections(metrics, "json")
    for error in (
        RequestError("top_p", "x"),
        RequestError("my words", "x"),
        Overloaded("1"),
        EngineError("x"),
    ):
        refusals.add(error, "mine")
    metrics.flush()
    metrics.flush()
    assert families.value("llm_refused_total", reason="invalid") == 2
    assert families.value("llm_refused_total", reason="overloaded") == 1
    assert families.value("llm_requests_total", finish_reason="error") == 1
    (line,) = lines(capfd)
    del line["time"]
    assert line == {"event": "refused", "invalid": 2, "overloaded": 1, "last_id": "mine", "last_field": ""}


def test_a_field_of_the_contract_is_named_a_caller_s_own_word_is_not(metrics, capfd):
    refusals = Rejections(metrics, "json")
    for name in ("my words", "top_p"):
        refusals.add(RequestError(name, "x"), "")
        metrics.flush()
    assert [line["last_field"] for line in lines(capfd)] == ["", "top_p"]


def test_the_engine_s_load_waiting_and_tokens(families, metrics):
    loads = [EngineStats(2, 5, 0.25), EngineStats(0, 0, 0.25)]
    report = EngineReport(metrics, 1, lambda: loads.pop(0))
    on_scheduled = report.on_arrival(prompt_tokens=30)
    never = report.on_arrival(prompt_tokens=9)
    time.sleep(0.02)
    on_scheduled()
    report.on_tokens(4)
    metrics.flush()
    one = {"instance": "1"}
    assert families.value("llm_requests_running", **one) == 2
    assert families.value("llm_requests_waiting", **one) == 5
    assert families.value("llm_kv_cache_usage_ratio", **one) == 0.25
    assert families.value("llm_generation_tokens_total", **one) == 4
    assert families.value("llm_prompt_tokens_total", **one) == 30
    (waited,) = families.seen("llm_queue_seconds", **one)
    assert 0.02 <= waited < 60
    del never
    metrics.flush()
    assert families.value("llm_kv_cache_usage_ratio", **one) == 0


def test_draft_tokens_are_counted_of_an_engine_that_has_some(families, metrics):
    loads = [EngineStats(1, 0, 0.1, 40, 30), EngineStats(1, 0, 0.1, 100, 35)]
    EngineReport(metrics, 0, lambda: loads.pop(0), drafts=True)
    metrics.flush()
    metrics.flush()
    one = {"instance": "0"}
    assert families.value("llm_draft_tokens_total", **one) == 100
    assert families.value("llm_accepted_draft_tokens_total", **one) == 35


def test_an_engine_without_draft_tokens_has_no_such_series(metrics, families):
    EngineReport(metrics, 0, lambda: EngineStats(1, 0, 0.1))
    metrics.flush()
    assert not [name for name in families if "draft" in name]
