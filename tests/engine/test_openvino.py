# SPDX-License-Identifier: Apache-2.0
"""The OpenVINO engine by itself, on the demo model: no Triton, no text."""

import queue
import threading

import msgspec
import numpy as np
import openvino as ov
import pytest

from llm_ensemble.engines.base import GenerationRequest, load_engine
from llm_ensemble.engines.openvino import OpenVinoEngine
from llm_ensemble.engines.openvino_pipeline import generation_config, load_pipeline
from llm_ensemble.errors import EngineDirectoryError, EngineError, Overloaded, RequestError
from llm_ensemble.manifest import read_manifest
from llm_ensemble.sampling import Sampling
from llm_ensemble.settings import Settings
from tests.waiting import wait_for

PROMPT = [0, 300, 400, 500, 600]


def changed(struct, **changes):
    return msgspec.structs.replace(struct, **changes)


@pytest.fixture(scope="module")
def manifest(demo_engine):
    return read_manifest(demo_engine)


@pytest.fixture
def start(demo_engine, manifest):
    """Start an engine; all that were started are closed in the end."""
    engines = []

    def start(manifest=manifest, max_waiting=256):
        engines.append(OpenVinoEngine(demo_engine, manifest, max_waiting))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


@pytest.fixture(scope="module")
def engine(demo_engine, manifest):
    engine = load_engine(manifest, Settings(engine_dir=demo_engine))
    yield engine
    engine.close()


class Asked:
    """A submitted request and what came for it. Nothing ends its text but max_tokens unless it says so."""

    def __init__(self, engine, number, input_ids=None, **sampling):
        self._came = queue.Queue()
        sampling = Sampling(**{"max_tokens": 20, **sampling})
        self._sequences = sampling.num_return_sequences
        engine.submit(GenerationRequest(number, input_ids or PROMPT, sampling), self._came.put)

    def next(self):
        return self._came.get(timeout=30)

    def rest(self):
        """Everything until the last."""
        came, to_end = [], set(range(self._sequences))
        while to_end:
            came.append(tokens := self.next())
            if tokens.finish:
                to_end.remove(tokens.index)
            if tokens.error or tokens.finish == "cancelled":
                to_end.clear()
        assert self._came.empty(), "something came after the last"
        return came

    def ids(self):
        return [token for tokens in self.rest() for token in tokens.token_ids]

    def sequences(self):
        """The ids of each sequence."""
        ids = [[] for _ in range(self._sequences)]
        for tokens in self.rest():
            ids[tokens.index] += tokens.token_ids
        return ids


def test_tokens_come_one_step_at_a_time_and_the_last_says_why(engine):
    came = Asked(engine, 1, max_tokens=5).rest()
    assert [len(tokens.token_ids) for tokens in came] == [1] * 5
    assert [tokens.finish for tokens in came] == [""] * 4 + ["length"]


@pytest.mark.parametrize("log_probs", [False, True])
def test_an_end_token_ends_the_text_and_is_not_part_of_it(engine, log_probs):
    greedy = Asked(engine, 1, max_tokens=3).ids()
    came = Asked(engine, 1, end_ids=[4095, greedy[2]], log_probs=log_probs).rest()
    assert [token for tokens in came for token in tokens.token_ids] == greedy[:2]
    assert sum(len(tokens.log_probs) for tokens in came) == (2 if log_probs else 0)
    assert came[-1].finish == "stop"


def test_nothing_but_the_request_says_what_ends_a_text(engine, manifest):
    """The pipeline alone would add the end token of the checkpoint's generation_config.json."""
    (end,) = manifest.defaults.end_ids
    assert end in Asked(engine, 1, max_tokens=100).ids()


def test_no_end_token_comes_before_min_tokens(engine):
    greedy = Asked(engine, 1, max_tokens=3).ids()
    ids = Asked(engine, 1, end_ids=[greedy[2]], min_tokens=10).ids()
    assert ids[:2] == greedy[:2]
    assert len(ids) >= 10
    assert greedy[2] not in ids[:10]


def longest_run(ids):
    """How often the most frequent token comes."""
    return max(ids.count(token) for token in ids)


def test_the_repetition_penalty_makes_repetition_rarer_and_its_opposite_more_frequent(engine):
    counts = [
        longest_run(Asked(engine, 1, max_tokens=60, repetition_penalty=penalty).ids())
        for penalty in (1.5, 1.0, 0.5)
    ]
    assert counts[0] < counts[1] < counts[2]


def test_the_repetition_penalty_counts_the_prompt(engine):
    """A token that came in the prompt alone, and would be next."""
    (next_token,) = Asked(engine, 1, max_tokens=1).ids()
    prompt = [0, next_token, *PROMPT[1:]]
    assert Asked(engine, 1, prompt, max_tokens=1).ids() == [next_token], "the prompt changed it: take another"
    assert Asked(engine, 1, prompt, max_tokens=1, repetition_penalty=50.0).ids() != [next_token]


def test_the_pipeline_still_gets_the_frequency_penalty_wrong(engine, demo_engine, manifest):
    """If this fails a new release has repaired it, and refuse_what_it_cannot can let it through."""
    config = generation_config(Sampling(max_tokens=60))
    plain = longest_run(Asked(engine, 1, max_tokens=60).ids())
    config.frequency_penalty = 2.0
    pipeline = load_pipeline(demo_engine / "engine", manifest)
    handle = pipeline.add_request(1, ov.Tensor(np.array([PROMPT], dtype=np.int64)), config)
    ids = []
    while pipeline.has_non_finished_requests():
        pipeline.step()
        ids += [token for output in handle.read().values() for token in output.generated_ids]
    assert longest_run(ids) > plain


def test_min_p_narrows_the_choice_down_to_the_greedy_one(engine):
    greedy = Asked(engine, 1).ids()
    assert Asked(engine, 1, greedy=False, temperature=1.0, min_p=0.999, seed=1).ids() == greedy
    assert Asked(engine, 1, greedy=False, temperature=1.0, min_p=0.0, seed=1).ids() != greedy


def test_several_sequences_of_one_request_differ_and_the_seed_gives_them_again(engine):
    asked = {"greedy": False, "temperature": 1.5, "num_return_sequences": 4}
    first = Asked(engine, 1, seed=3, **asked).sequences()
    assert [len(ids) for ids in first] == [20] * 4
    assert len({tuple(ids) for ids in first}) == 4
    assert Asked(engine, 2, seed=3, **asked).sequences() == first


def total(asked):
    """The log probability of each sequence."""
    sums = {}
    for tokens in asked.rest():
        sums[tokens.index] = sums.get(tokens.index, 0.0) + sum(tokens.log_probs)
    return [sums[index] for index in sorted(sums)]


def test_a_beam_search_finds_what_is_likelier_than_the_greedy_text_best_first(engine):
    (greedy,) = total(Asked(engine, 1, max_tokens=12, log_probs=True))
    beams = total(Asked(engine, 2, max_tokens=12, log_probs=True, beam_width=6, num_return_sequences=3))
    assert len(beams) == 3
    assert beams == sorted(beams, reverse=True)
    assert beams[0] > greedy


def test_the_length_penalty_decides_between_a_short_and_a_long_beam(engine):
    greedy = Asked(engine, 1, max_tokens=20).ids()
    asked = {"beam_width": 4, "num_return_sequences": 1, "max_tokens": 20, "end_ids": [greedy[5]]}
    short, long = (Asked(engine, 1, length_penalty=p, **asked).ids() for p in (-10.0, 10.0))
    assert len(short) < len(long)


@pytest.mark.parametrize(
    ("sampling", "told"),
    [
        ({"bad_words": [[5]]}, "bad_words: the openvino engine cannot keep words out"),
        ({"beam_width": 2, "greedy": False}, "beam_width: the openvino engine does not sample in a beam"),
        ({"beam_width": 2, "repetition_penalty": 1.1}, "repetition_penalty: the openvino engine has none in"),
        ({"presence_penalty": 0.1}, "presence_penalty: the openvino engine gets it wrong"),
        ({"frequency_penalty": -0.1}, "frequency_penalty: the openvino engine gets it wrong"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(engine, sampling, told):
    with pytest.raises(RequestError) as caught:
        Asked(engine, 1, **sampling)
    assert str(caught.value).startswith(told)
    assert (engine.stats().running, engine.stats().waiting) == (0, 0)


@pytest.mark.parametrize(
    "several",
    [
        {"beam_width": 4, "num_return_sequences": 2},
        {"greedy": False, "temperature": 1.0, "num_return_sequences": 4},
    ],
)
def test_a_request_of_several_sequences_is_aborted_as_one(engine, several):
    asked = Asked(engine, 1, max_tokens=500, **several)
    wait_for(lambda: engine.stats().running == 4)
    engine.abort(1)
    assert asked.rest()[-1].finish == "cancelled"
    assert Asked(engine, 2, max_tokens=2).rest()[-1].finish == "length"
    assert (engine.stats().running, engine.stats().waiting) == (0, 0)


def test_a_batch_is_counted_in_sequences(start, manifest):
    engine = start(changed(manifest, limits=changed(manifest.limits, max_batch_size=4)), max_waiting=0)
    wide = Asked(engine, 1, max_tokens=500, beam_width=3, num_return_sequences=1)
    Asked(engine, 2, max_tokens=500)
    with pytest.raises(Overloaded):
        Asked(engine, 3, max_tokens=500)
    engine.abort(1)
    wide.rest()
    assert Asked(engine, 4, max_tokens=2).rest()[-1].finish == "length"


def test_requests_join_and_leave_a_running_batch(engine):
    long = Asked(engine, 1, max_tokens=300)
    long.next()
    short = [Asked(engine, 2 + i, max_tokens=5) for i in range(3)]
    assert all(one.rest()[-1].finish == "length" for one in short)
    assert engine.stats().running >= 1, "the long request ended before the short ones: no batch was shared"
    assert long.rest()[-1].finish == "length"


def replace_step(engine, monkeypatch, step):
    """Let the engine's pipeline do something else when it is told to step; all else stays the real one."""
    pipeline = engine._pipeline

    class Replaced:
        def __getattr__(self, name):
            return step if name == "step" else getattr(pipeline, name)

    monkeypatch.setattr(engine, "_pipeline", Replaced())


def test_32_requests_share_their_steps(engine, monkeypatch):
    steps = []
    step = engine._pipeline.step
    replace_step(engine, monkeypatch, lambda: (steps.append(1), step()))
    for one in [Asked(engine, i, max_tokens=64) for i in range(32)]:
        assert len(one.ids()) == 64
    assert len(steps) < 2 * 64, "32 requests took as many steps as one after the other"


def test_greedy_ids_do_not_depend_on_sampling_neighbours(engine):
    alone = Asked(engine, 1).ids()
    together = [Asked(engine, i, greedy=i == 0, temperature=2.0, seed=i) for i in range(4)]
    ids = [one.ids() for one in together]
    assert ids[0] == alone
    assert len({tuple(one) for one in ids}) == 4


def test_the_same_seed_gives_the_same_ids(engine):
    def ids(seed):
        return Asked(engine, 1, greedy=False, temperature=1.5, seed=seed).ids()

    assert ids(2**64 - 1) == ids(2**64 - 1) != ids(3)


def test_temperature_top_k_and_top_p_narrow_the_choice_down_to_the_greedy_one(engine):
    greedy = Asked(engine, 1).ids()
    assert Asked(engine, 1, greedy=False, temperature=0.001, seed=1).ids() == greedy
    assert Asked(engine, 1, greedy=False, temperature=5.0, top_k=1, seed=1).ids() == greedy
    assert Asked(engine, 1, greedy=False, temperature=1.0, top_p=1e-6, seed=1).ids() == greedy
    assert Asked(engine, 1, greedy=False, temperature=5.0, seed=1).ids() != greedy


def test_an_abort_ends_a_running_request_and_frees_its_place(engine):
    asked = Asked(engine, 1, max_tokens=400)
    asked.next()
    engine.abort(1)
    assert asked.rest()[-1].finish == "cancelled"
    assert Asked(engine, 2, max_tokens=2).rest()[-1].finish == "length"
    assert (engine.stats().running, engine.stats().waiting) == (0, 0)


def test_an_abort_ends_a_request_that_still_waits(engine, manifest):
    limit = manifest.limits.max_batch_size
    running = [Asked(engine, i, max_tokens=200) for i in range(limit)]
    running[0].next()
    waiting = Asked(engine, 999, max_tokens=200)
    engine.abort(999)
    assert [tokens.finish for tokens in waiting.rest()][-1] == "cancelled"
    for i in range(limit):
        engine.abort(i)
    assert {one.rest()[-1].finish for one in running} <= {"cancelled", "length"}


def test_aborting_what_is_not_there_is_harmless(engine):
    engine.abort(12345)
    assert Asked(engine, 1, max_tokens=2).rest()[-1].finish == "length"


def test_stats_tell_who_runs_who_waits_and_how_full_the_cache_is(engine, manifest):
    limit = manifest.limits.max_batch_size
    open_ = [Asked(engine, i, max_tokens=300) for i in range(limit + 5)]
    open_[0].next()
    open_[0].next()
    stats = engine.stats()
    assert (stats.running, stats.waiting) == (limit, 5)
    assert 0 < stats.kv_cache_usage <= 1
    for i in range(limit + 5):
        engine.abort(i)
    for one in open_:
        one.rest()


def test_one_request_too_many_is_refused_at_once(start, manifest):
    engine = start(max_waiting=2)
    limit = manifest.limits.max_batch_size + 2
    open_ = [Asked(engine, i, max_tokens=400) for i in range(limit)]
    with pytest.raises(Overloaded, match="Exceeds maximum queue size"):
        Asked(engine, 999)
    engine.close()
    assert {one.rest()[-1].finish for one in open_} == {"cancelled"}


def test_closing_ends_every_open_request_and_refuses_new_ones(start):
    engine = start()
    open_ = [Asked(engine, i, max_tokens=400) for i in range(3)]
    open_[0].next()
    engine.close()
    engine.close()
    assert {one.rest()[-1].finish for one in open_} == {"cancelled"}
    with pytest.raises(EngineError, match="closed"):
        Asked(engine, 9)


def test_a_failing_step_ends_every_open_request_with_an_error(start, monkeypatch, caplog):
    engine = start()
    open_ = [Asked(engine, i, max_tokens=400) for i in range(3)]
    open_[0].next()

    def fail():
        raise RuntimeError("no memory")

    replace_step(engine, monkeypatch, fail)
    assert all(isinstance(one.rest()[-1].error, EngineError) for one in open_)
    with pytest.raises(EngineError):
        Asked(engine, 9)
    assert "no memory" in caplog.text


def test_a_receiver_that_fails_harms_only_its_own_request(engine, caplog):
    def fail(tokens):
        raise ValueError("the sender broke")

    neighbour = Asked(engine, 1, max_tokens=50)
    engine.submit(GenerationRequest(2, PROMPT, Sampling(max_tokens=400)), fail)
    assert len(neighbour.ids()) == 50
    assert "the sender broke" in caplog.text


def test_submitting_from_many_threads_loses_nothing(engine):
    results = [None] * 64

    def ask(i):
        results[i] = len(Asked(engine, i, [0, 300 + i], max_tokens=8).ids())

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(result is not None for result in results)


def test_an_engine_of_another_kind_is_refused(demo_engine, manifest):
    manifest = changed(manifest, engine="tensorrt_llm")
    with pytest.raises(EngineDirectoryError, match="'tensorrt_llm' engine, which this version cannot serve"):
        load_engine(manifest, Settings(engine_dir=demo_engine))
