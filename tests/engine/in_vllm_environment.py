# SPDX-License-Identifier: Apache-2.0
"""What is the vllm engine's own, with the real vLLM. test_vllm.py runs this module in vLLM's environment."""

import functools
import os
import signal

import pytest

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.protocol import GenerationRequest
from llm_ensemble.engines.vllm.api import read_sampling
from llm_ensemble.errors import EngineError, RequestError
from tests.engine.submitted import PROMPT, Submitted
from tests.processes import descendants
from tests.waiting import wait_for

pytestmark = pytest.mark.parametrize("kind", ["vllm"], indirect=True, scope="module")


def children():
    """Return the running processes that vLLM started, by their id; one that has ended has no command."""
    processes = descendants(os.getpid())[1:]
    return {one.pid for one in processes if one.command and "resource_tracker" not in one.command}


@pytest.mark.parametrize(
    "sampling",
    [
        {},
        {"log_probs": True},
        {"greedy": False, "temperature": 1.5, "seed": 3, "num_return_sequences": 3},
    ],
)
def test_tokens_are_taken_directly_and_generate_gives_the_same(engine, monkeypatch, sampling):
    assert engine._direct
    direct = by_sequence(Submitted(engine, 1, max_tokens=30, **sampling))
    monkeypatch.setattr(engine, "_direct", False)
    assert by_sequence(Submitted(engine, 2, max_tokens=30, **sampling)) == direct
    assert {len(ids) for ids, _ in direct.values()} == {30}
    assert engine.stats().running == 0
    submitted = Submitted(engine, 3, max_tokens=400)
    submitted.next()
    engine.abort(3)
    assert submitted.rest()[-1].finish == "cancelled"


def test_of_a_request_s_tokens_vllm_s_output_processor_sees_the_first_and_the_last(engine, monkeypatch):
    seen = []
    monkeypatch.setattr(engine, "_on_output", functools.partial(note_output, engine._on_output, seen))
    received = Submitted(engine, 1, max_tokens=30)
    assert len(received.ids()) == 30
    assert seen == [1, 1]


def note_output(on_output, seen, active, output):
    seen.append(len(output.outputs[0].token_ids))
    on_output(active, output)


def test_vllm_keeps_no_statistics_of_requests(engine):
    """One logger, which takes the cache's usage; vLLM adds one of its own to any that is not of its kind."""
    assert [type(one).__name__ for one in engine._llm.logger_manager.stat_loggers] == ["CacheUsage"]


def by_sequence(submitted):
    """Token ids and log probabilities of each sequence, of a request or of what it has received."""
    sequences = {}
    for tokens in submitted if isinstance(submitted, list) else submitted.rest():
        ids, log_probs = sequences.setdefault(tokens.index, ([], []))
        ids += tokens.token_ids
        log_probs += tokens.log_probs
    return sequences


def test_log_probs_are_the_model_s_own_whatever_the_temperature(engine):
    (greedy,) = Submitted(engine, 1, max_tokens=1, log_probs=True).rest()
    sampling = {"greedy": False, "temperature": 0.5, "top_k": 1, "seed": 1, "repetition_penalty": 1.0}
    (sampled,) = Submitted(engine, 1, max_tokens=1, log_probs=True, **sampling).rest()
    assert sampled.token_ids == greedy.token_ids
    assert sampled.log_probs == pytest.approx(greedy.log_probs, abs=1e-4)


@pytest.mark.parametrize("sampling", [{}, {"greedy": False, "temperature": 2.0, "seed": 5}])
def test_the_most_probable_tokens_come_with_each_whether_it_is_one_of_them_or_not(engine, sampling):
    alone = by_sequence(Submitted(engine, 1, max_tokens=30, log_probs=True, **sampling))[0]
    received = Submitted(engine, 2, max_tokens=30, log_probs=True, top_log_probs=3, **sampling).rest()
    assert by_sequence(received)[0] == (alone[0], pytest.approx(alone[1], abs=1e-4))
    is_top = []
    for tokens in received:
        assert len(tokens.top_ids) == len(tokens.top_log_probs) == 3 * len(tokens.token_ids)
        for i, (token_id, log_prob) in enumerate(zip(tokens.token_ids, tokens.log_probs)):
            ids = tokens.top_ids[3 * i : 3 * i + 3]
            log_probs = tokens.top_log_probs[3 * i : 3 * i + 3]
            assert log_probs == sorted(log_probs, reverse=True)
            assert len({*ids}) == 3
            assert (token_id in ids) or log_prob <= log_probs[-1]
            assert token_id not in ids or log_probs[ids.index(token_id)] == log_prob
            is_top.append(token_id == ids[0])
    assert all(is_top) if not sampling else not all(is_top)


def test_a_bad_word_of_one_or_several_tokens_is_not_generated(engine):
    first, second, *_ = Submitted(engine, 1, max_tokens=4).ids()
    assert Submitted(engine, 1, max_tokens=1, bad_words=[[first]]).ids() != [first]
    ids = Submitted(engine, 1, max_tokens=4, bad_words=[[first, second]]).ids()
    assert ids[0] == first
    assert ids[1] != second


@pytest.mark.parametrize(
    ("sampling", "field"),
    [
        ({"beam_width": 2}, "beam_width"),
        ({"presence_penalty": 3.0}, "presence_penalty"),
        ({"frequency_penalty": -2.5}, "frequency_penalty"),
    ],
)
def test_what_vllm_does_not_support_is_refused_by_name(engine, sampling, field):
    with pytest.raises(RequestError, match=f"^{field}: .*with the vllm engine|leave it out") as refused:
        Submitted(engine, 1, **sampling)
    assert refused.value.field == field


@pytest.mark.parametrize("seed", [0, 2**63 - 1, 2**63, 2**64 - 1])
def test_every_seed_is_one_that_vllm_takes(engine, seed):
    params = read_sampling(Sampling(max_tokens=1, greedy=False, seed=seed))
    assert 0 <= params.seed < 2**63


def test_a_request_that_vllm_refuses_fails_alone(engine, manifest):
    neighbour = Submitted(engine, 1, max_tokens=100)
    too_long = Submitted(engine, 2, [1] * (manifest.limits.max_seq_len + 1))
    assert "the engine failed the request" in str(too_long.rest()[-1].error)
    assert len(neighbour.ids()) == 100
    assert not engine.failed


def test_aborting_a_request_before_vllm_knows_it_leaves_nothing_running(engine):
    for stream_id in range(20):
        submitted = Submitted(engine, stream_id, max_tokens=400)
        engine.abort(stream_id)
        assert submitted.rest()[-1].finish == "cancelled"
    wait_for(lambda: not engine._llm.output_processor.has_unfinished_requests())


def test_the_cache_s_usage_is_vllm_s(engine):
    submitted = Submitted(engine, 1, max_tokens=300)
    submitted.next()
    wait_for(lambda: engine.stats().kv_cache_usage > 0)
    engine.abort(1)
    submitted.rest()
    assert engine.stats().kv_cache_usage == 0


def test_when_a_process_of_vllm_dies_without_requests_that_is_noticed(start, engine):
    before = children()
    dying = start()
    os.kill(min(children() - before), signal.SIGKILL)  # the first that was started; it starts the workers
    wait_for(lambda: dying.failed)
    with pytest.raises(EngineError, match="the engine failed"):
        dying.submit(GenerationRequest(99, PROMPT, Sampling(max_tokens=1)), print)
    dying.close()
    wait_for(lambda: children() == before)


def test_closing_ends_vllm_s_processes(engine):
    assert children()
    engine.close()
    wait_for(lambda: not children())
