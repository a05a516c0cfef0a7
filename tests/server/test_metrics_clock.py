# SPDX-License-Identifier: Apache-2.0
"""The metrics' times against a client's clock, on an engine whose pace is known; and the log in JSON."""

import concurrent.futures
import json
import time
from dataclasses import dataclass

import pytest

from benchmarks.pace_engine import LIMITS, make_pace_engine
from build_scripts.tritonserver import free_ports, running
from tests.asking import GrpcStream, generate
from tests.scraping import Counted, scrape

TTFT, INTERVAL, TOKENS, PLACES = 0.3, 0.05, 41, 4
WHOLE = TTFT + (TOKENS - 1) * INTERVAL
NEAR = 0.01  # seconds, in the mean of all requests
TRIES = 4  # another process's moment may spoil one; a wrong figure is wrong every time
PROMPT = "The package manager and its friends"


@pytest.fixture(scope="module")
def paced(tmp_path_factory):
    """A server whose pace is known, with few places and a log in JSON that may say everything."""
    folder = tmp_path_factory.mktemp("paced")
    few = LIMITS.__class__(max_batch_size=PLACES, max_input_len=500, max_seq_len=600, max_num_tokens=512)
    settings = {"LOG_FORMAT": "json", "LOG_TEXT": "1"}
    pace = {"PACE_TTFT_MS": TTFT * 1000, "PACE_INTERVAL_MS": INTERVAL * 1000}
    with pytest.MonkeyPatch.context() as patch, (folder / "log").open("wb") as log:
        for name, value in {**settings, **pace}.items():
            patch.setenv(name, str(value))
        with running(make_pace_engine(folder / "pace", few), free_ports(), log) as server:
            server.wait_ready()
            server.log = folder / "log"
            generate(server, PROMPT, max_tokens=1)
            yield server


@dataclass
class Seen:
    """What a client saw of a stream: when it asked, and when how many tokens came."""

    asked: float
    came: list[tuple[float, int]]
    ended: float

    @property
    def first(self):
        return self.came[0][0]

    @property
    def later(self):
        return sum(tokens for _, tokens in self.came[1:])


def watch(server, number):
    with GrpcStream(server) as stream:
        asked, came = time.monotonic(), []
        fields = {"text_input": PROMPT, "max_tokens": TOKENS, "stream": True}
        for response in stream.ask(**fields, request_id=f"seen {number}"):
            if response["num_output_tokens"]:
                came.append((time.monotonic(), response["num_output_tokens"]))
        return Seen(asked, came, time.monotonic())


def watch_at_once(server, count):
    with concurrent.futures.ThreadPoolExecutor(count) as pool, Counted(server) as counted:
        seen = list(pool.map(lambda number: watch(server, number), range(count)))
    return seen, counted


def near(counted, name, expected, count):
    """How far a histogram's sum is from what was expected, for each of so many requests."""
    return abs(counted.value(f"{name}_sum") - sum(expected)) / count


def test_times_are_those_of_a_client_s_clock(paced):
    for _ in range(TRIES):
        seen, counted = watch_at_once(paced, PLACES)
        assert counted.value("llm_time_to_first_token_seconds_count") == PLACES
        assert counted.value("llm_inter_token_latency_seconds_count") == sum(one.later for one in seen)
        assert counted.value("llm_completion_length_tokens_sum") == PLACES * TOKENS
        off = [
            near(counted, f"llm_{name}_seconds", expected, PLACES)
            for name, expected in (
                ("time_to_first_token", [one.first - one.asked for one in seen]),
                ("inter_token_latency", [one.came[-1][0] - one.first for one in seen]),
                ("request_duration", [one.ended - one.asked for one in seen]),
                ("time_to_first_token", [TTFT] * PLACES),
                ("inter_token_latency", [WHOLE - TTFT] * PLACES),
            )
        ]
        if max(off) <= NEAR:
            break
    else:
        pytest.fail(f"further than {NEAR} s off in each of {TRIES} tries, the last: {off}")
    assert counted.value("llm_queue_seconds_sum") <= NEAR * PLACES
    assert within(counted, "llm_time_to_first_token_seconds", 0.2, 0.5) == PLACES
    assert within(counted, "llm_inter_token_latency_seconds", 0.03, 0.075) >= PLACES * (TOKENS - 1) * 0.9


def within(counted, name, low, high):
    """How many were above one of a histogram's bounds and at most another."""
    buckets = dict(counted.buckets(name))
    return buckets[high] - buckets[low]


def test_who_waits_for_a_place_is_seen_waiting(paced):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(watch_at_once, paced, PLACES + 1)
        loads = []
        while not asked.done():
            now = scrape(paced)
            tokens = now.value("llm_generation_tokens_total")
            loads.append((now.value("llm_requests_running"), now.value("llm_requests_waiting"), tokens))
            time.sleep(0.1)
        seen, counted = asked.result()
    assert (PLACES, 1) in [load[:2] for load in loads]
    assert len({tokens for _, _, tokens in loads}) > 3, "the counter moves while streams run"
    assert counted.value("llm_queue_seconds_count") == PLACES + 1
    last = max(seen, key=lambda one: one.first)
    waited = last.first - last.asked - TTFT
    assert waited > WHOLE * 0.9
    assert counted.value("llm_queue_seconds_sum") == pytest.approx(waited, abs=0.1)


def test_a_json_log_is_json_and_has_texts_if_a_setting_says_so(paced):
    answer = generate(paced, PROMPT, max_tokens=3, id="a\nb", exclude_input_in_output=False)
    with GrpcStream(paced) as stream:
        streamed = list(stream.ask(text_input=PROMPT, max_tokens=4, stream=True, request_id="streamed"))
    lines = [json.loads(line) for line in paced.log.read_text().splitlines() if line.startswith("{")]
    plain, stream = (next(line for line in lines if line["id"] == name) for name in ("a\nb", "streamed"))
    assert (plain["event"], plain["tokens_out"], plain["ttft_ms"]) == ("request", 3, None)
    assert (plain["prompt"], PROMPT + plain["texts"][0]) == (PROMPT, answer["text_output"])
    assert stream["texts"] == ["".join(one["text_output"] for one in streamed)]
    assert TTFT * 1000 <= stream["ttft_ms"] <= stream["duration_ms"]
    assert stream["finish"] == "length"
