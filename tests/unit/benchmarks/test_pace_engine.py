# SPDX-License-Identifier: Apache-2.0
import queue
import time

import pytest

from benchmarks.pace.kind import NAME
from benchmarks.pace.make_engine import LIMITS, make_pace_engine
from benchmarks.pace.settings import PaceSettings
from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.kinds import read_engine_settings
from llm_ensemble.engines.protocol import GenerationRequest
from llm_ensemble.errors import EngineError, Overloaded, RequestError, SettingError
from tests.engine.submitted import PROMPT, Submitted, changed, loaded
from tests.waiting import SECONDS


@pytest.fixture
def start(tmp_path, monkeypatch):
    engines = []

    def start(ttft_ms=1, interval_ms=1, places=512, max_waiting=256):
        monkeypatch.setenv("PACE_TTFT_MS", str(ttft_ms))
        monkeypatch.setenv("PACE_INTERVAL_MS", str(interval_ms))
        folder = make_pace_engine(tmp_path / "pace", changed(LIMITS, max_batch_size=places))
        engines.append(loaded(folder, max_waiting=max_waiting))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


def test_the_ids_are_the_text_of_the_prompt_over_and_over_and_the_last_says_why(start):
    came = Submitted(start(), 1, max_tokens=7).rest()
    assert [token for tokens in came for token in tokens.token_ids] == [300, 400, 500, 600, 300, 400, 500]
    assert [tokens.finish for tokens in came if tokens.finish] == ["length"]


def test_end_ids_are_not_among_them(start):
    assert 300 not in Submitted(start(), 1, max_tokens=12, end_ids=[300]).ids()


def test_no_token_comes_before_it_is_due(start):
    engine = start(ttft_ms=100, interval_ms=10)
    began = time.monotonic()
    submitted = Submitted(engine, 1, max_tokens=21)
    submitted.next()
    assert time.monotonic() - began >= 0.1
    submitted.rest()
    assert time.monotonic() - began >= 0.3


def test_late_tokens_come_together_and_the_pace_is_kept(start):
    """A receiver that takes 20 ms holds up the clock, not the pace."""
    came = queue.Queue()

    def slow(tokens):
        time.sleep(0.02)
        came.put(tokens)

    start(ttft_ms=0, interval_ms=1).submit(GenerationRequest(1, PROMPT, Sampling(max_tokens=200)), slow)
    lengths = []
    while sum(lengths) < 200:
        lengths.append(len(came.get(timeout=SECONDS).token_ids))
    assert len(lengths) < 30


def test_one_waits_until_another_has_ended_and_one_too_many_is_refused(start):
    engine = start(ttft_ms=1000, interval_ms=10, places=1, max_waiting=1)
    first, second = Submitted(engine, 1, max_tokens=5), Submitted(engine, 2, max_tokens=2)
    assert (engine.stats().running, engine.stats().waiting) == (1, 1)
    with pytest.raises(Overloaded):
        Submitted(engine, 3)
    assert [len(first.ids()), len(second.ids())] == [5, 2]
    assert (engine.stats().running, engine.stats().waiting) == (0, 0)


def test_an_abort_ends_a_request_whether_it_runs_or_waits(start):
    engine = start(ttft_ms=10_000, places=1)
    running, waiting = Submitted(engine, 1), Submitted(engine, 2)
    engine.abort(2)
    engine.abort(2)
    engine.abort(77)
    assert [tokens.finish for tokens in waiting.rest()] == ["cancelled"]
    engine.abort(1)
    assert [tokens.finish for tokens in running.rest()] == ["cancelled"]


def test_closing_ends_every_request_and_refuses_new_ones(start):
    engine = start(ttft_ms=10_000)
    open_ = [Submitted(engine, i) for i in range(3)]
    engine.close()
    engine.close()
    assert {one.rest()[-1].finish for one in open_} == {"cancelled"}
    with pytest.raises(EngineError, match="closed"):
        Submitted(engine, 9)


@pytest.mark.parametrize(
    ("sampling", "field"),
    [
        ({"beam_width": 2}, "beam_width"),
        ({"num_return_sequences": 2, "greedy": False}, "num_return_sequences"),
        ({"log_probs": True}, "return_log_probs"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(start, sampling, field):
    with pytest.raises(RequestError) as refused:
        Submitted(start(), 1, **sampling)
    assert refused.value.field == field


def test_its_settings_are_numbers_and_for_it_alone():
    assert read_engine_settings(NAME, {}) == PaceSettings()
    assert read_engine_settings(NAME, {"PACE_INTERVAL_MS": "2.5"}).pace_interval_ms == 2.5
    for name, value in (("PACE_TTFT_MS", "-1"), ("PACE_TTFT_MS", "nan"), ("PACE_INTERVAL_MS", "0")):
        with pytest.raises(SettingError, match=name):
            read_engine_settings(NAME, {name: value})


def test_a_setting_of_another_engine_is_refused():
    with pytest.raises(SettingError, match="GPU_GROUPS is for the tensorrt_llm engine alone"):
        read_engine_settings(NAME, {"GPU_GROUPS": "0"})
