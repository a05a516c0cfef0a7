# SPDX-License-Identifier: Apache-2.0
"""What every engine does, with the demo model, without Triton.

TensorRT-LLM's is the strict fake of tests/fakes, which computes with the same model. vLLM is in
an environment of its own, in which this module is run again (test_vllm.py).
"""

import threading

import pytest

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.protocol import GenerationRequest
from llm_ensemble.errors import EngineError, Overloaded
from tests.engine.submitted import KINDS, PROMPT, Submitted, changed, longest_run
from tests.waiting import wait_for

pytestmark = pytest.mark.parametrize("kind", KINDS, indirect=True, scope="module")

needs_beams = pytest.mark.skipif("vllm" in KINDS, reason="vLLM has no beam search")


def test_tokens_come_as_they_are_generated_and_the_last_has_the_finish_reason(engine):
    """A token a step; vLLM's may bring several steps together when the machine is busy."""
    received = Submitted(engine, 1, max_tokens=5).rest()
    sizes = [len(tokens.token_ids) for tokens in received]
    assert sizes[0] == 1
    assert sizes == [1] * 5 or ("vllm" in KINDS and sum(sizes) == 5)
    assert [tokens.finish for tokens in received] == [""] * (len(sizes) - 1) + ["length"]


@pytest.mark.parametrize("log_probs", [False, True])
def test_an_end_token_ends_the_text_and_is_not_part_of_it(engine, log_probs):
    greedy = Submitted(engine, 1, max_tokens=3).ids()
    received = Submitted(engine, 1, end_ids=[4095, greedy[2]], log_probs=log_probs).rest()
    assert [token for tokens in received for token in tokens.token_ids] == greedy[:2]
    assert sum(len(tokens.log_probs) for tokens in received) == (2 if log_probs else 0)
    assert received[-1].finish == "stop"


def test_no_end_token_comes_before_min_tokens(engine):
    greedy = Submitted(engine, 1, max_tokens=3).ids()
    ids = Submitted(engine, 1, end_ids=[greedy[2]], min_tokens=10).ids()
    assert ids[:2] == greedy[:2]
    assert len(ids) >= 10
    assert greedy[2] not in ids[:10]


def test_the_repetition_penalty_makes_repetition_rarer_and_its_opposite_more_frequent(engine):
    counts = [
        longest_run(Submitted(engine, 1, max_tokens=60, repetition_penalty=penalty).ids())
        for penalty in (1.5, 1.0, 0.5)
    ]
    assert counts[0] < counts[1] < counts[2]


def test_the_repetition_penalty_counts_the_prompt(engine):
    """A token that occurs only in the prompt and would be the next one."""
    (next_token,) = Submitted(engine, 1, max_tokens=1).ids()
    prompt = [0, next_token, *PROMPT[1:]]
    assert Submitted(engine, 1, prompt, max_tokens=1).ids() == [next_token], (
        "the prompt changed the next token: choose another prompt"
    )
    assert Submitted(engine, 1, prompt, max_tokens=1, repetition_penalty=50.0).ids() != [next_token]


def test_min_p_narrows_the_choice_down_to_the_greedy_one(engine):
    greedy = Submitted(engine, 1).ids()
    assert Submitted(engine, 1, greedy=False, temperature=1.0, min_p=0.999, seed=1).ids() == greedy
    assert Submitted(engine, 1, greedy=False, temperature=1.0, min_p=0.0, seed=1).ids() != greedy


def test_several_sequences_of_one_request_differ_and_the_seed_repeats_them(engine):
    sampling = {"greedy": False, "temperature": 1.5, "num_return_sequences": 4}
    first = Submitted(engine, 1, seed=3, **sampling).sequences()
    assert [len(ids) for ids in first] == [20] * 4
    assert len({tuple(ids) for ids in first}) == 4
    assert Submitted(engine, 2, seed=3, **sampling).sequences() == first


@needs_beams
@pytest.mark.parametrize("min_tokens", [0, 5])
def test_a_beam_search_that_nothing_ends_goes_on_to_its_last_token(engine, min_tokens):
    """By default OpenVINO's ends with the checkpoint's end token, within 20 tokens of the demo model."""
    beams = Submitted(
        engine, 1, max_tokens=30, min_tokens=min_tokens, beam_width=4, num_return_sequences=4
    ).rest()
    assert [(len(beam.token_ids), beam.finish) for beam in beams] == [(30, "length")] * 4


@needs_beams
def test_the_length_penalty_decides_between_a_short_and_a_long_beam(engine):
    greedy = Submitted(engine, 1, max_tokens=20).ids()
    sampling = {"beam_width": 4, "num_return_sequences": 1, "max_tokens": 20, "end_ids": [greedy[5]]}
    short, long = (Submitted(engine, 1, length_penalty=p, **sampling).ids() for p in (-10.0, 10.0))
    assert len(short) < len(long)


@pytest.mark.parametrize(
    "several",
    [
        pytest.param({"beam_width": 4, "num_return_sequences": 2}, marks=needs_beams),
        {"greedy": False, "temperature": 1.0, "num_return_sequences": 4},
    ],
)
def test_a_request_of_several_sequences_is_aborted_as_one(engine, several):
    submitted = Submitted(engine, 1, max_tokens=500, **several)
    wait_for(lambda: engine.stats().running == 4)
    engine.abort(1)
    assert submitted.rest()[-1].finish == "cancelled"
    assert Submitted(engine, 2, max_tokens=2).rest()[-1].finish == "length"
    assert (engine.stats().running, engine.stats().waiting) == (0, 0)


def test_a_batch_is_counted_in_sequences(start, manifest):
    engine = start(changed(manifest, limits=changed(manifest.limits, max_batch_size=4)), max_waiting=0)
    several = {"greedy": False} if "vllm" in KINDS else {"beam_width": 3}
    wide = Submitted(engine, 1, max_tokens=500, num_return_sequences=3, **several)
    Submitted(engine, 2, max_tokens=500)
    with pytest.raises(Overloaded):
        Submitted(engine, 3, max_tokens=500)
    engine.abort(1)
    wide.rest()
    assert Submitted(engine, 4, max_tokens=2).rest()[-1].finish == "length"


def test_requests_join_and_leave_a_running_batch(engine):
    long = Submitted(engine, 1, max_tokens=300)
    long.next()
    short = [Submitted(engine, 2 + i, max_tokens=5) for i in range(3)]
    assert all(one.rest()[-1].finish == "length" for one in short)
    assert engine.stats().running >= 1, "the long request ended before the short ones: no batch was shared"
    assert long.rest()[-1].finish == "length"


def test_greedy_ids_do_not_depend_on_sampling_neighbours(engine):
    alone = Submitted(engine, 1).ids()
    together = [Submitted(engine, i, greedy=i == 0, temperature=2.0, seed=i) for i in range(4)]
    ids = [one.ids() for one in together]
    assert ids[0] == alone
    assert len({tuple(one) for one in ids}) == 4


def test_the_same_seed_gives_the_same_ids(engine):
    def ids(seed):
        return Submitted(engine, 1, greedy=False, temperature=1.5, seed=seed).ids()

    assert ids(2**64 - 1) == ids(2**64 - 1) != ids(3)


def test_temperature_top_k_and_top_p_narrow_the_choice_down_to_the_greedy_one(engine):
    greedy = Submitted(engine, 1).ids()
    assert Submitted(engine, 1, greedy=False, temperature=0.001, seed=1).ids() == greedy
    assert Submitted(engine, 1, greedy=False, temperature=2.0, top_k=1, seed=1).ids() == greedy
    assert Submitted(engine, 1, greedy=False, temperature=1.0, top_p=1e-6, seed=1).ids() == greedy
    assert Submitted(engine, 1, greedy=False, temperature=2.0, seed=1).ids() != greedy


def test_an_abort_ends_a_running_request_and_frees_its_slot(engine):
    submitted = Submitted(engine, 1, max_tokens=400)
    submitted.next()
    engine.abort(1)
    assert submitted.rest()[-1].finish == "cancelled"
    assert Submitted(engine, 2, max_tokens=2).rest()[-1].finish == "length"
    assert (engine.stats().running, engine.stats().waiting) == (0, 0)


def test_an_abort_ends_a_request_that_still_waits(engine, manifest):
    limit = manifest.limits.max_batch_size
    running = [Submitted(engine, i, max_tokens=200) for i in range(limit)]
    running[0].next()
    waiting = Submitted(engine, 999, max_tokens=200)
    engine.abort(999)
    assert [tokens.finish for tokens in waiting.rest()][-1] == "cancelled"
    for i in range(limit):
        engine.abort(i)
    assert {one.rest()[-1].finish for one in running} <= {"cancelled", "length"}


def test_aborting_an_unknown_request_is_harmless(engine):
    engine.abort(12345)
    assert Submitted(engine, 1, max_tokens=2).rest()[-1].finish == "length"


def test_stats_have_the_sequences_running_and_waiting_and_the_usage_of_the_cache(engine, manifest):
    limit = manifest.limits.max_batch_size
    open_ = [Submitted(engine, i, max_tokens=300) for i in range(limit + 5)]
    open_[0].next()
    open_[0].next()
    stats = engine.stats()
    assert (stats.running, stats.waiting) == (limit, 5)
    wait_for(lambda: 0 < engine.stats().kv_cache_usage <= 1)
    for i in range(limit + 5):
        engine.abort(i)
    for one in open_:
        one.rest()


def test_one_request_too_many_is_refused_at_once(start, manifest):
    engine = start(max_waiting=2)
    limit = manifest.limits.max_batch_size + 2
    open_ = [Submitted(engine, i, max_tokens=400) for i in range(limit)]
    with pytest.raises(Overloaded, match="Exceeds maximum queue size"):
        Submitted(engine, 999)
    engine.close()
    assert {one.rest()[-1].finish for one in open_} == {"cancelled"}


def test_closing_ends_every_open_request_and_refuses_new_ones(start):
    engine = start()
    open_ = [Submitted(engine, i, max_tokens=400) for i in range(3)]
    open_[0].next()
    engine.close()
    engine.close()
    assert {one.rest()[-1].finish for one in open_} == {"cancelled"}
    with pytest.raises(EngineError, match="closed"):
        Submitted(engine, 9)


def test_a_callback_that_raises_harms_only_its_own_request(engine, caplog):
    def fail(tokens):
        raise ValueError("the callback failed")

    neighbour = Submitted(engine, 1, max_tokens=50)
    engine.submit(GenerationRequest(2, PROMPT, Sampling(max_tokens=400)), fail)
    assert len(neighbour.ids()) == 50
    assert "the callback failed" in caplog.text


def test_submitting_from_many_threads_loses_nothing(engine):
    results = [None] * 64

    def ask(i):
        results[i] = len(Submitted(engine, i, [0, 300 + i], max_tokens=8).ids())

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(result is not None for result in results)
