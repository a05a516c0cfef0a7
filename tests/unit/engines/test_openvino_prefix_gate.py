# SPDX-License-Identifier: Apache-2.0

import pytest

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.openvino.prefill import PrefillTracker
from llm_ensemble.engines.openvino.prefix_gate import PrefixGate
from llm_ensemble.engines.protocol import GenerationRequest
from llm_ensemble.engines.scheduler import ActiveRequest
from llm_ensemble.manifest import Limits

LIMITS = Limits(max_batch_size=4, max_input_len=99, max_seq_len=100, max_num_tokens=50, max_beam_width=1)
KNOWN = [7, 8, 9]


class Engine:
    """A gate and the prefill that it looks at; a name of its own for each request."""

    def __init__(self, blocks=10, **options):
        self.gate = PrefixGate(LIMITS, blocks, **options)
        self.prefill = PrefillTracker(LIMITS.max_num_tokens)
        self.requests = {}

    def put(self, **prompts):
        for name, ids in prompts.items():
            self.requests[name] = ActiveRequest(GenerationRequest(0, ids, Sampling(max_tokens=1)), print)
            self.gate.put(self.requests[name])

    def enter(self):
        entered = list(self.gate.enter())
        for active in entered:
            self.prefill.add(active)
        return [name for name, active in self.requests.items() if active in entered]

    def step(self, sequences=1):
        self.gate.step(self.prefill, sequences)
        self.prefill.step(sequences)

    def end(self, *names):
        for name in names:
            self.prefill.remove(self.requests[name])
            self.gate.remove(self.requests[name])


def entries(engine):
    """Return who enters before each step, until none is waiting or five steps have brought no one."""
    seen = [engine.enter()]
    while any(seen[-5:]):
        engine.step()
        seen.append(engine.enter())
    return seen[:-5]


@pytest.fixture
def engine():
    """An engine that has ended a request for the prompt KNOWN."""
    engine = Engine()
    engine.put(known=KNOWN)
    engine.enter()
    engine.end("known")
    return engine


def test_prompts_that_no_earlier_prompt_begins_enter_together():
    engine = Engine()
    common = list(range(40))
    engine.put(one=[*common, 1], two=[*common, 2, 3], same=[*common, 1], other=[5])
    assert engine.enter() == ["one", "two", "same", "other"]


def test_of_prompts_that_begin_with_an_earlier_one_the_next_enters_when_the_last_has_generated(engine):
    engine.put(one=[*KNOWN, 1], two=[*KNOWN, 2], three=[*KNOWN, 1], other=[1, 2])
    assert entries(engine) == [["one", "other"], [], ["two"], [], ["three"]]


def test_a_long_prefill_is_waited_for_and_the_step_after_it(engine):
    engine.put(long=[*KNOWN, *range(60)], short=[*KNOWN, 1])
    assert entries(engine) == [["long"], [], [], ["short"]]


def test_an_earlier_prompt_alone_holds_no_one_up(engine):
    engine.put(same=KNOWN, again=KNOWN, shorter=KNOWN[:2])
    assert engine.enter() == ["same", "again", "shorter"]


def test_a_prompt_that_begins_with_one_in_prefill_waits():
    engine = Engine()
    engine.put(one=[1, 2], same=[1, 2], longer=[1, 2, 3])
    assert entries(engine) == [["one", "same"], [], ["longer"]]


def test_the_prompt_of_a_running_request_is_an_earlier_one():
    engine = Engine()
    engine.put(running=KNOWN)
    engine.enter()
    engine.step()
    engine.step()
    engine.put(one=[*KNOWN, 1], two=[*KNOWN, 2])
    assert engine.enter() == ["one"]


def test_who_waits_is_not_passed_by_one_that_it_would_have_to_wait_for():
    engine = Engine()
    engine.put(a=[1], ab=[1, 2], abc=[1, 2, 3])
    engine.enter()
    engine.end("a")
    # ab may not share with abc, which came first; c passes both
    engine.put(abd=[1, 2, 4], c=[3])
    assert entries(engine)[:3] == [["ab", "c"], [], ["abc"]]


def test_who_has_ended_is_not_waited_for(engine):
    engine.put(one=[*KNOWN, *range(60)], two=[*KNOWN, 1], three=[*KNOWN, 2])
    assert engine.enter() == ["one"]
    engine.end("one", "two")  # two while it waits
    assert engine.enter() == ["three"]


def test_a_step_without_tokens_for_all_sequences_counts_for_no_one(engine):
    engine.put(one=[*KNOWN, 1], two=[*KNOWN, 2])
    assert engine.enter() == ["one"]
    engine.step()
    for _ in range(3):
        engine.step(sequences=LIMITS.max_num_tokens + 1)
        assert engine.enter() == []
    engine.step(sequences=LIMITS.max_num_tokens)
    assert engine.enter() == ["two"]


@pytest.mark.parametrize(("others", "entered"), [(7, ["one"]), (8, ["one", "two"])])
def test_four_times_as_many_prompts_as_blocks_are_remembered(others, entered):
    engine = Engine(blocks=2)
    for name, ids in {"known": KNOWN, **{f"other {i}": [50 + i] for i in range(others)}}.items():
        engine.put(**{name: ids})
        engine.enter()
        engine.end(name)
    engine.put(one=[*KNOWN, 1], two=[*KNOWN, 2])
    assert engine.enter() == entered


def test_without_the_prefix_cache_all_enter_at_once():
    engine = Engine(is_open=True)
    engine.put(one=[1], two=[1, 2], three=[1, 2, 3])
    assert engine.enter() == ["one", "two", "three"]
    engine.step()
    engine.end("one", "two", "three")


@pytest.mark.parametrize("ids", [[], [1] * 101, [1] * 300, [-5, 2**40]])
def test_a_prompt_that_the_pipeline_will_refuse_enters(engine, ids):
    engine.put(one=ids)
    assert engine.enter() == ["one"]
