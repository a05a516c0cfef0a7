# SPDX-License-Identifier: Apache-2.0
"""Metrics and log against what clients have sent and received, on the real server."""

import collections
import contextlib
import re

from llm_ensemble.telemetry.request_metrics import FINISHES
from tests.asking import GrpcStream, as_infer, generate, generate_stream, post, refusal
from tests.conftest import BOTH_ENGINES
from tests.scraping import Counted, scrape

pytestmark = BOTH_ENGINES

PROMPT = "The package manager"
HISTOGRAMS = {
    "llm_time_to_first_token_seconds",
    "llm_inter_token_latency_seconds",
    "llm_request_duration_seconds",
    "llm_queue_seconds",
    "llm_prompt_length_tokens",
    "llm_completion_length_tokens",
}
COUNTERS = {
    "llm_prompt_tokens_total": {},
    "llm_generation_tokens_total": {},
    "llm_requests_total": {"finish_reason": set(FINISHES)},
    "llm_refused_total": {"reason": {"invalid", "overloaded"}},
}
GAUGES = {
    "llm_requests_running",
    "llm_requests_waiting",
    "llm_kv_cache_usage_ratio",
    "llm_max_batch_size",
    "llm_max_waiting",
    "llm_max_seq_len",
    "llm_engine_info",
}


def test_every_metric_is_there_from_the_start_in_prometheus_own_format(server):
    seen = scrape(server)
    types = {family.name: family.type for family in seen.families}
    for name in HISTOGRAMS:
        assert types[name] == "histogram"
        counts = [count for _, count in seen.buckets(name)]
        assert counts == sorted(counts)
        assert counts[-1] == seen.value(f"{name}_count")
        assert seen.value(f"{name}_sum") >= 0
    for name, labels in COUNTERS.items():
        for label, values in labels.items():
            assert {sample.labels[label] for sample in seen.of(name)} == values
        assert seen.value(name) >= 0
    assert all(seen.of(name) for name in GAUGES)
    assert all(family.documentation for family in seen.families)


def test_the_limits_are_the_engine_s(server, engine_kind):
    seen = scrape(server)
    assert (seen.value("llm_max_batch_size"), seen.value("llm_max_seq_len")) == (32, 512)
    assert seen.value("llm_max_waiting") == 256
    assert seen.value("llm_engine_info", engine=engine_kind, model="demo", precision="fp16") == 1


def test_counts_are_those_of_the_clients(server):
    """Unary, streamed, by ensemble_unary, and of several sequences: each request once."""
    with Counted(server) as counted:
        answers = [generate(server, PROMPT[: 3 + i], max_tokens=5 + i) for i in range(6)]
        streams = [generate_stream(server, PROMPT, max_tokens=10 * i) for i in (1, 2)]
        several = generate(server, PROMPT, max_tokens=7, num_return_sequences=2, temperature=1.0, seed=1)
        status, text = post(server, "infer", as_infer(text_input=PROMPT, max_tokens=4), "ensemble_unary")
    assert status == 200
    unary = {name: int(re.search(rf'"{name}".*?"data":\[(\d+)\]', text)[1]) for name in TOKENS}
    whole = [*answers, *map(summed, streams), several, unary]
    tokens_in, tokens_out = (sum(one[name] for one in whole) for name in TOKENS)
    assert counted.value("llm_prompt_tokens_total") == tokens_in
    assert counted.value("llm_prompt_length_tokens_sum") == tokens_in
    assert counted.value("llm_generation_tokens_total") == tokens_out
    assert counted.value("llm_completion_length_tokens_sum") == tokens_out
    assert counted.value("llm_requests_total") == len(whole)
    for name in HISTOGRAMS - {"llm_time_to_first_token_seconds", "llm_inter_token_latency_seconds"}:
        assert counted.value(f"{name}_count") == len(whole)
    assert counted.value("llm_time_to_first_token_seconds_count") == len(streams)
    later = sum(bool(event["num_output_tokens"]) for stream in streams for event in after_first(stream))
    assert counted.value("llm_inter_token_latency_seconds_count") == later
    assert counted.value("llm_refused_total") == 0


TOKENS = ("num_input_tokens", "num_output_tokens")


def summed(events):
    tokens = sum(event["num_output_tokens"] for event in events)
    return {"num_input_tokens": events[0]["num_input_tokens"], "num_output_tokens": tokens}


def after_first(events):
    """Return the events after the first that has tokens."""
    first = next(i for i, event in enumerate(events) if event["num_output_tokens"])
    return events[first + 1 :]


def test_each_end_has_its_reason(server):
    text = generate(server, PROMPT, max_tokens=30, ignore_eos=True)["text_output"]
    with Counted(server) as counted:
        ends = [
            generate(server, PROMPT, max_tokens=30, ignore_eos=True, stop_words=[text[10:16]]),
            generate(server, PROMPT, max_tokens=3, ignore_eos=True),
            generate(server, PROMPT, max_tokens=400, ignore_eos=True, deadline_ms=30),
        ]
    finishes = collections.Counter(end["finish_reason"] for end in ends)
    assert set(finishes) == {"stop", "length", "timeout"}
    assert counted.by("llm_requests_total", "finish_reason") == finishes
    given = sum(end["num_output_tokens"] for end in ends)
    assert counted.value("llm_completion_length_tokens_sum") == given
    assert counted.value("llm_generation_tokens_total") >= given  # the engine went on for a moment


def refused_by(engine_kind):
    """Return fields that preprocessing accepts, but not the engine."""
    return {"presence_penalty": 1.0} if engine_kind == "openvino" else {"beam_width": 2, "temperature": 1.0}


def test_rejections_are_counted_once_in_whichever_stage_they_happen(server, engine_kind):
    by_preprocessing = {"text_input": "a", "max_tokens": 0}
    by_engine = {"text_input": "a", **refused_by(engine_kind)}
    unknown = {"text_input": "a", "no_field": "x"}
    with Counted(server) as counted:
        refused = [refusal(server, body) for body in (by_preprocessing, by_engine, unknown)]
        for fields in ({"max_tokens": 0}, {"stream": True}):  # forwarded to the ensemble, and not forwarded
            body = as_infer(text_input="a", **fields)
            refused.append(refusal(server, body, "infer", "ensemble_unary"))
    assert {status for status, _ in refused} == {400}
    assert counted.by("llm_refused_total", "reason") == {"invalid": 5}
    assert counted.value("llm_requests_total") == 0


ASKED = {"text_input": PROMPT, "max_tokens": 480, "ignore_eos": True, "stream": True}


def test_load_overload_and_client_disconnects(quiet):
    """4 run, 4 wait, one more is rejected; then all clients disconnect."""
    server = quiet.server
    with Counted(server) as counted:
        with contextlib.ExitStack() as stack:
            for i in range(8):
                stream = stack.enter_context(GrpcStream(server))
                stream.start(**ASKED, request_id=f"request {i}")
            quiet.wait(lambda: (quiet.state["running"], quiet.state["waiting"]) == (4, 4))
            _, message = refusal(server, {"text_input": "a"})
            quiet.wait(lambda: load(server) == (4, 4))
            quiet.wait(lambda: 0 < scrape(server).value("llm_kv_cache_usage_ratio") <= 1)
        quiet.wait(quiet.is_empty)
    assert message.endswith("4 running, 4 waiting; try again later")
    assert counted.by("llm_refused_total", "reason") == {"overloaded": 1}
    assert counted.by("llm_requests_total", "finish_reason") == {"cancelled": 8}
    assert load(server) == (0, 0)
    assert counted.after.value("llm_kv_cache_usage_ratio") == 0


def load(server):
    seen = scrape(server)
    return seen.value("llm_requests_running"), seen.value("llm_requests_waiting")


def test_the_log_has_a_line_a_request_and_no_texts(server):
    secret = "Xylophone quartets"
    answer = generate(server, secret, max_tokens=9, id='a"b\nfinish="stop"')
    refusal(server, {"text_input": secret, secret: 1, "max_tokens": 0, "id": "bad"})
    with Counted(server):
        pass
    log = server.log.read_text()
    (line,) = re.findall(r"^\S+Z request id=\"a\\\"b.*$", log, re.MULTILINE)
    fields = dict(re.findall(r"(\w+)=(\S+)", line.partition('finish=\\"stop\\"" ')[2]))
    assert float(fields.pop("duration_ms")) > 0
    assert fields == {
        "tokens_in": str(answer["num_input_tokens"]),
        "tokens_out": str(answer["num_output_tokens"]),
        "ttft_ms": "null",
        "finish": f'"{answer["finish_reason"]}"',
    }
    assert re.search(r'^\S+Z refused invalid=1 overloaded=0 last_id="bad" last_field=""$', log, re.MULTILINE)
    assert secret not in log
    assert answer["text_output"] not in log
