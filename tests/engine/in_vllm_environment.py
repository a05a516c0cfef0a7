# SPDX-License-Identifier: Apache-2.0
"""What is the vllm engine's own, with the real vLLM. test_vllm.py runs this module in vLLM's environment."""

import functools
import os
import re
import signal
import threading

import pytest

from llm_ensemble.contract.guide import Guide
from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.protocol import GenerationRequest
from llm_ensemble.engines.vllm.api import read_sampling
from llm_ensemble.engines.vllm.environment import is_cpu
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


@pytest.mark.parametrize("sampling", [{}, {"greedy": False, "temperature": 2.0, "seed": 5}])
def test_a_logit_bias_forces_and_forbids_tokens_and_is_not_part_of_the_log_probs(engine, sampling):
    assert set(Submitted(engine, 1, max_tokens=8, logit_bias={777: 100.0}, **sampling).ids()) == {777}
    first = Submitted(engine, 1, max_tokens=8, **sampling).ids()[0]
    assert first not in Submitted(engine, 1, max_tokens=30, logit_bias={first: -100.0}, **sampling).ids()
    (plain,) = Submitted(engine, 1, max_tokens=1, log_probs=True, top_log_probs=2).rest()
    (biased,) = Submitted(engine, 1, max_tokens=1, log_probs=True, logit_bias={plain.top_ids[1]: 50.0}).rest()
    assert biased.token_ids == [plain.top_ids[1]]
    assert biased.log_probs == pytest.approx([plain.top_log_probs[1]], abs=1e-4)


def test_a_logit_bias_turns_the_choice_exactly_where_it_outweighs_the_difference(engine):
    (plain,) = Submitted(engine, 1, max_tokens=1, log_probs=True, top_log_probs=2).rest()
    first, second = plain.top_ids
    gap = plain.top_log_probs[0] - plain.top_log_probs[1]
    for bias, chosen in ((gap - 0.01, first), (gap + 0.01, second)):
        assert Submitted(engine, 1, max_tokens=1, logit_bias={second: bias}).ids() == [chosen]


@pytest.mark.parametrize(
    ("sampling", "field"),
    [
        ({"beam_width": 2}, "beam_width"),
        ({"min_tokens": 2, "guide": Guide("json")}, "min_tokens"),
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


PROMPTS = [[0, *range(start, start + 5 + 3 * number)] for number, start in enumerate(range(300, 2700, 300))]
WAYS = {"prompt_lookup": ("PROMPT_LOOKUP", "1"), "draft": ("DRAFT_ENGINE_DIR", "")}


@pytest.mark.parametrize("way", [*WAYS])
def test_speculative_decoding_gives_the_greedy_tokens_in_fewer_steps(
    engine, start, engine_dir, way, monkeypatch
):
    """The draft is the model itself, so nearly all of its tokens are accepted."""

    def all_ids(engine, **sampling):
        submitted = [Submitted(engine, i, one, max_tokens=60, **sampling) for i, one in enumerate(PROMPTS)]
        return [one.ids() for one in submitted]

    name, value = WAYS[way]
    monkeypatch.setenv(name, value or str(engine_dir))
    speculative = start()
    ends = {"end_ids": [0, 13, 15]}
    for sampling in ({}, ends, {"repetition_penalty": 1.3}, {"log_probs": True}, {"bad_words": [[262]]}):
        assert all_ids(speculative, **sampling) == all_ids(engine, **sampling)
    one = Submitted(speculative, 1, PROMPTS[0], max_tokens=400)
    one.next()
    speculative.abort(1)
    assert one.rest()[-1].finish == "cancelled"
    assert len(Submitted(speculative, 1, max_tokens=60).ids()) == 60
    stats = speculative.stats()
    assert 0 < stats.accepted_draft_tokens <= stats.draft_tokens
    assert engine.stats().draft_tokens is None
    refused = {"min_p": {"greedy": False, "min_p": 0.1}, "min_tokens": {"min_tokens": 3}}
    if is_cpu():
        refused["temperature"] = {"greedy": False}
    else:
        assert len(Submitted(speculative, 2, greedy=False, seed=3).ids()) == 20
    for field, sampling in refused.items():
        with pytest.raises(RequestError, match=f"^{field}: "):
            Submitted(speculative, 1, **sampling)


BOMBS = {
    "takes minutes to compile": "root ::= " + " ".join(["[a-z]?"] * 1000),
    "takes seconds a token": "root ::= e\ne ::= e e e | e e | [a-z ]",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_grammar_that_takes_too_long_is_refused_while_others_go_on(engine, bomb):
    refused = Submitted(engine, 1, guide=Guide("ebnf_grammar", BOMBS[bomb]), end_ids=[0])
    seen = []
    receiver = threading.Thread(target=lambda: seen.append(refused.rest()[-1].error))
    receiver.start()
    texts = 0
    while receiver.is_alive():
        assert len(Submitted(engine, 2).ids()) == 20
        texts += 1
    assert isinstance(seen[0], RequestError)
    assert re.match("guided_decoding_guide: (takes the engine more than|each token would take)", str(seen[0]))
    assert texts > 3
    guide = Guide("regex", "[a-c]{3}")
    assert Submitted(engine, 3, guide=guide, end_ids=[0], max_tokens=9).rest()[-1].finish == "stop"


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
