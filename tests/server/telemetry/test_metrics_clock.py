# SPDX-License-Identifier: Apache-2.0
"""The metrics' times and a client's clock, on an engine of a known pace; and the log in JSON."""

import concurrent.futures
import json
import time
from dataclasses import dataclass
from itertools import pairwise

import pytest

from benchmarks.pace.make_engine import LIMITS, make_pace_engine
from serving.tritonserver import free_ports, running
from tests.asking import GrpcStream, generate
from tests.scraping import Counted, scrape
from tests.waiting import wait_for

TTFT, INTERVAL, TOKENS, SLOTS = 0.3, 0.05, 41, 4
WHOLE = TTFT + (TOKENS - 1) * INTERVAL
PROMPT = "The package manager and its friends"


@pytest.fixture(scope="module")
def paced(tmp_path_factory):
    """A server of a known pace with few slots, and a log in JSON with texts."""
    folder = tmp_path_factory.mktemp("paced")
    few = LIMITS.__class__(max_batch_size=SLOTS, max_input_len=500, max_seq_len=600, max_num_tokens=512)
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
    """A stream as the client sees it: when it was sent, and when how many tokens arrived."""

    sent: float
    arrived: list[tuple[float, int]]
    ended: float

    @property
    def first(self):
        return self.arrived[0][0]

    @property
    def gaps(self):
        """For each response after the first, the mean time between its tokens."""
        return [(now - before) / tokens for (before, _), (now, tokens) in pairwise(self.arrived)]


def watch(server, number):
    with GrpcStream(server) as stream:
        sent, arrived = time.monotonic(), []
        fields = {"text_input": PROMPT, "max_tokens": TOKENS, "stream": True}
        for response in stream.ask(**fields, request_id=f"seen {number}"):
            if response["num_output_tokens"]:
                arrived.append((time.monotonic(), response["num_output_tokens"]))
        return Seen(sent, arrived, time.monotonic())


def watch_at_once(server, count):
    with concurrent.futures.ThreadPoolExecutor(count) as pool, Counted(server) as counted:
        seen = list(pool.map(lambda number: watch(server, number), range(count)))
    return seen, counted


def test_times_are_at_least_those_of_the_pace_and_at_most_those_of_a_client_s_clock(paced):
    """tests/timing has how near they are, which a quiet machine alone can tell."""
    seen, counted = watch_at_once(paced, SLOTS)
    assert counted.value("llm_time_to_first_token_seconds_count") == SLOTS
    assert counted.value("llm_inter_token_latency_seconds_count") == sum(len(one.gaps) for one in seen)
    assert counted.value("llm_completion_length_tokens_sum") == SLOTS * TOKENS
    first, durations = (
        counted.value(f"llm_{name}_seconds_sum") for name in ("time_to_first_token", "request_duration")
    )
    assert TTFT * SLOTS <= first <= sum(one.first - one.sent for one in seen)
    assert WHOLE * SLOTS <= durations <= sum(one.ended - one.sent for one in seen)
    assert within(counted, "llm_time_to_first_token_seconds", 0, 0.2) == 0
    # A late token is soon followed by the next, so of the gaps it is the mean that is near the pace.
    gaps = [counted.value(f"llm_inter_token_latency_seconds_{what}") for what in ("sum", "count")]
    assert INTERVAL / 2 < gaps[0] / gaps[1] < INTERVAL * 2
    assert counted.value("llm_queue_seconds_sum") < WHOLE / 2, "they have waited for each other"


def within(counted, name, low, high):
    """Return how many values were above `low` and at most `high`, two bounds of a histogram, or 0."""
    buckets = {0: 0, **dict(counted.buckets(name))}
    return buckets[high] - buckets[low]


def test_a_request_that_waits_for_a_slot_is_counted_as_waiting(paced):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch_at_once, paced, SLOTS + 1)
        loads = []
        while not watching.done():
            now = scrape(paced)
            tokens = now.value("llm_generation_tokens_total")
            loads.append((now.value("llm_requests_running"), now.value("llm_requests_waiting"), tokens))
            time.sleep(0.1)
        seen, counted = watching.result()
    assert (SLOTS, 1) in [load[:2] for load in loads]
    assert len({tokens for _, _, tokens in loads}) > 2, "the counter moves while streams run"
    assert counted.value("llm_queue_seconds_count") == SLOTS + 1
    last = max(seen, key=lambda one: one.first)
    # It waited for the whole of another, unless it was sent late; the client saw all of that.
    assert WHOLE / 2 < counted.value("llm_queue_seconds_sum") <= last.first - last.sent - TTFT + WHOLE / 4


def logged(server):
    return [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]


def test_a_json_log_is_json_and_has_texts_if_that_is_set(paced):
    answer = generate(paced, PROMPT, max_tokens=3, id="a\nb", exclude_input_in_output=False)
    with GrpcStream(paced) as stream:
        streamed = list(stream.ask(text_input=PROMPT, max_tokens=4, stream=True, request_id="streamed"))
    wait_for(lambda: {"a\nb", "streamed"} <= {line["id"] for line in logged(paced)})
    unary, stream = (next(line for line in logged(paced) if line["id"] == id) for id in ("a\nb", "streamed"))
    assert (unary["event"], unary["tokens_out"], unary["ttft_ms"]) == ("request", 3, None)
    assert (unary["prompt"], PROMPT + unary["texts"][0]) == (PROMPT, answer["text_output"])
    assert stream["texts"] == ["".join(one["text_output"] for one in streamed)]
    assert TTFT * 1000 <= stream["ttft_ms"] <= stream["duration_ms"]
    assert stream["finish"] == "length"
