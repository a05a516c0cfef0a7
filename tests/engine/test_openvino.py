# SPDX-License-Identifier: Apache-2.0
"""The OpenVINO engine by itself, on the demo model: no Triton, no text."""

import queue
import threading

import msgspec
import pytest

from llm_ensemble.engines.base import GenerationRequest, load_engine
from llm_ensemble.engines.openvino import OpenVinoEngine
from llm_ensemble.errors import EngineDirectoryError, EngineError, Overloaded
from llm_ensemble.manifest import read_manifest
from llm_ensemble.sampling import Sampling
from llm_ensemble.settings import Settings

PROMPT = [0, 300, 400, 500, 600]


def changed(struct, **changes):
    return msgspec.structs.replace(struct, **changes)


@pytest.fixture(scope="module")
def endless(demo_engine):
    """A manifest without end tokens: how long a request lasts is then the test's to say."""
    manifest = read_manifest(demo_engine)
    return changed(manifest, defaults=changed(manifest.defaults, end_ids=[]))


@pytest.fixture
def start(demo_engine, endless):
    """Start an engine; all that were started are closed in the end."""
    engines = []

    def start(manifest=endless, max_waiting=256):
        engines.append(OpenVinoEngine(demo_engine, manifest, max_waiting))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


@pytest.fixture(scope="module")
def engine(demo_engine, endless):
    engine = load_engine(endless, Settings(engine_dir=demo_engine))
    yield engine
    engine.close()


class Asked:
    """A submitted request and what came for it."""

    def __init__(self, engine, number, input_ids=None, **sampling):
        self._came = queue.Queue()
        sampling = Sampling(**{"max_tokens": 20, **sampling})
        engine.submit(GenerationRequest(number, input_ids or PROMPT, sampling), self._came.put)

    def next(self):
        return self._came.get(timeout=30)

    def rest(self):
        """Everything until the last."""
        came = [self.next()]
        while not came[-1].last:
            came.append(self.next())
        assert self._came.empty(), "something came after the last"
        return came

    def ids(self):
        return [token for tokens in self.rest() for token in tokens.token_ids]


def test_tokens_come_one_step_at_a_time_and_the_last_says_why(engine):
    came = Asked(engine, 1, max_tokens=5).rest()
    assert [len(tokens.token_ids) for tokens in came] == [1] * 5
    assert [tokens.finish for tokens in came] == [""] * 4 + ["length"]


def test_an_end_token_ends_the_text_and_is_not_part_of_it(engine, start, endless):
    third = Asked(engine, 1, max_tokens=3).ids()[2]
    ending = start(changed(endless, defaults=changed(endless.defaults, end_ids=[third])))
    came = Asked(ending, 1).rest()
    assert third not in [token for tokens in came for token in tokens.token_ids]
    assert came[-1].finish == "stop"


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


def test_an_abort_ends_a_request_that_still_waits(engine, endless):
    limit = endless.limits.max_batch_size
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


def test_stats_tell_who_runs_who_waits_and_how_full_the_cache_is(engine, endless):
    limit = endless.limits.max_batch_size
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


def test_one_request_too_many_is_refused_at_once(start, endless):
    engine = start(max_waiting=2)
    limit = endless.limits.max_batch_size + 2
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


def test_an_engine_of_another_kind_is_refused(demo_engine, endless):
    manifest = changed(endless, engine="tensorrt_llm")
    with pytest.raises(EngineDirectoryError, match="'tensorrt_llm' engine, which this version cannot serve"):
        load_engine(manifest, Settings(engine_dir=demo_engine))
