# SPDX-License-Identifier: Apache-2.0
"""What is read from vLLM's outputs, which of them pass by its output processor, how steps are merged."""

import asyncio
import math
import threading
from types import SimpleNamespace

import pytest

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.protocol import Tokens
from llm_ensemble.engines.vllm import hand_over
from llm_ensemble.engines.vllm.api import read_output
from llm_ensemble.engines.vllm.hand_over import HandOver
from llm_ensemble.engines.vllm.token_sink import take_plain_tokens
from llm_ensemble.errors import EngineError


class Delivered:
    """A HandOver and what it has delivered; its thread stands still at the key "hold"."""

    def __init__(self):
        self.all, self.threads = [], set()
        self.go_on = threading.Event()
        self.hand_over = HandOver(asyncio.get_running_loop(), self._deliver)

    def _deliver(self, key, news):
        self.threads.add(threading.current_thread().name)
        self.all.append((key, [*news]))
        if key == "hold":
            assert self.go_on.wait(30)

    async def step(self, plain=(), *urgent):
        """What a step of vLLM gives; afterwards the loop has turned."""
        self.hand_over.put_plain((key, index, [token]) for key, index, token in plain)
        for key, tokens in urgent:
            self.hand_over.put(key, [tokens])
        await asyncio.sleep(0)

    async def until(self, count):
        """Wait for so many deliveries; return those after the first."""
        while len(self.all) < count:
            await asyncio.sleep(0.001)
        return self.all[1:]


def run(test):
    """Run a test in an event loop, with a Delivered whose thread is ended afterwards."""

    async def with_delivered():
        delivered = Delivered()
        await test(delivered)
        delivered.hand_over.close(10)
        assert not delivered.hand_over._thread.is_alive()
        assert delivered.threads == {"vllm-outputs"}

    asyncio.run(with_delivered())


def test_steps_that_come_while_the_thread_works_are_merged_by_request():
    async def test(delivered):
        await delivered.step([("hold", 0, 0)])
        await delivered.until(1)
        await delivered.step([("a", 0, 1), ("b", 0, 5)])
        await delivered.step([("a", 0, 2), ("b", 0, 6), ("c", 0, 9)])
        delivered.go_on.set()
        assert await delivered.until(4) == [
            ("a", [Tokens([1, 2])]),
            ("b", [Tokens([5, 6])]),
            ("c", [Tokens([9])]),
        ]

    run(test)


def test_firsts_and_ends_overtake_what_can_wait_but_not_their_own_tokens():
    async def test(delivered):
        await delivered.step([("before", 0, 0), ("hold", 0, 0), ("a", 0, 1), ("b", 0, 5)])
        await delivered.until(2)
        await delivered.step([("a", 0, 2), ("b", 0, 6)])
        await delivered.step([("a", 0, 3)], ("b", Tokens([7], "length")), ("before", Tokens([1], "stop")))
        await delivered.step([("a", 0, 4)], ("c", Tokens([9])))
        delivered.go_on.set()
        assert (await delivered.until(7))[1:] == [
            ("b", [Tokens([5]), Tokens([6]), Tokens([7], "length")]),
            ("before", [Tokens([1], "stop")]),
            ("c", [Tokens([9])]),
            ("a", [Tokens([1])]),
            ("a", [Tokens([2, 3, 4])]),
        ]

    run(test)


def test_what_is_urgent_does_not_wait_for_the_thread_to_have_rested(monkeypatch):
    monkeypatch.setattr(hand_over, "MAX_REST_SECONDS", 1000)
    monkeypatch.setattr(hand_over, "REST_SECONDS", 1000)

    async def test(delivered):
        await delivered.step([("a", 0, 1)])
        await delivered.until(1)
        while delivered.hand_over._ready_at == math.inf:
            await asyncio.sleep(0.001)
        await delivered.step([("a", 0, 2), ("b", 0, 5)], ("c", Tokens([9])))
        await delivered.step([], ("b", Tokens([6], "stop")))
        assert await delivered.until(3) == [("c", [Tokens([9])]), ("b", [Tokens([5]), Tokens([6], "stop")])]

    run(test)


def test_tokens_of_different_sequences_are_not_merged():
    async def test(delivered):
        await delivered.step([("hold", 0, 0), ("a", 0, 1)])
        await delivered.until(1)
        plain = [("a", 0, 2), ("a", 1, 5), ("a", 1, 6), ("a", 0, 3)]
        await delivered.step(plain, ("a", Tokens([4], "stop")))
        await delivered.step([("a", 1, 7)], ("a", Tokens([8], "length", index=1)))
        delivered.go_on.set()
        first, second = await delivered.until(3)
        assert first == (
            "a",
            [Tokens([1]), Tokens([2]), Tokens([5, 6], index=1), Tokens([3]), Tokens([4], "stop")],
        )
        assert second == ("a", [Tokens([7], index=1), Tokens([8], "length", index=1)])

    run(test)


def test_a_hand_over_that_is_closed_delivers_what_it_has_been_handed():
    async def test(delivered):
        await delivered.step([("hold", 0, 0), ("a", 0, 1), ("b", 0, 5)])
        await delivered.until(1)
        delivered.hand_over.close(0)
        delivered.go_on.set()
        delivered.hand_over._thread.join(10)
        assert delivered.all[1:] == [("a", [Tokens([1])]), ("b", [Tokens([5])])]
        assert not delivered.hand_over._thread.is_alive()

    run(test)


class Processor:
    """The part of vLLM's output processor that plain tokens pass by; notes what still comes to it."""

    def __init__(self, **states):
        self.request_states = states
        self.processed = []

    def process_outputs(self, outputs, timestamp=None, statistics=None):
        self.processed.append(([output.request_id for output in outputs], statistics))
        return "processed"


def state(key, *, index=0, is_prefilling=False):
    queue = SimpleNamespace(key=key) if key else SimpleNamespace()
    return SimpleNamespace(queue=queue, request_index=index, is_prefilling=is_prefilling)


def test_plain_tokens_pass_by_vllm_s_output_processor_and_firsts_ends_and_others_do_not():
    processor = Processor(
        goes_on=state("a", index=2),
        begins=state("b", is_prefilling=True),
        ends=state("c"),
        with_log_probs=state(None),
    )
    plain = []
    llm = SimpleNamespace(output_processor=processor)
    take_plain_tokens(llm, lambda tokens: plain.append([*tokens]))
    names = ["goes_on", "begins", "ends", "with_log_probs", "aborted"]
    outputs = [
        SimpleNamespace(request_id=name, new_token_ids=[i], finish_reason="stop" if name == "ends" else None)
        for i, name in enumerate(names)
    ]
    assert processor.process_outputs(outputs, 1.5, "statistics") == "processed"
    assert plain == [[("a", 2, [0])]]
    assert processor.processed == [(["begins", "ends", "with_log_probs"], None)]


def sequence(ids, finish=None, logprobs=None, index=0):
    return SimpleNamespace(token_ids=ids, finish_reason=finish, logprobs=logprobs, index=index)


def read(*sequences, **sampling):
    return read_output(SimpleNamespace(outputs=sequences), Sampling(max_tokens=9, **sampling))


def test_the_end_token_is_cut_off_with_its_log_probability():
    logprobs = [{5: SimpleNamespace(logprob=-1.0)}, {7: SimpleNamespace(logprob=-2.0)}]
    (tokens,) = read(sequence([5, 7], "stop", logprobs), end_ids=[7], log_probs=True)
    assert (tokens.token_ids, tokens.finish, tokens.log_probs) == ([5], "stop", [-1.0])


def test_the_most_probable_tokens_are_sorted_and_the_chosen_one_is_left_out_where_it_is_none_of_them():
    logprobs = [scored({5: -3.0, 9: -0.5, 8: -1.0}), scored({9: -0.1, 8: -2.0}), scored({7: -0.3, 1: -4.0})]
    asked = {"end_ids": [7], "log_probs": True, "top_log_probs": 2}
    (tokens,) = read(sequence([5, 8, 7], "stop", logprobs), **asked)
    assert (tokens.token_ids, tokens.log_probs) == ([5, 8], [-3.0, -2.0])
    assert (tokens.top_ids, tokens.top_log_probs) == ([9, 8, 9, 8], [-0.5, -1.0, -0.1, -2.0])
    with pytest.raises(EngineError, match="log probability"):
        read(sequence([5], None, [scored({5: -1.0})]), log_probs=True, top_log_probs=2)


def scored(log_probs):
    return {token_id: SimpleNamespace(logprob=log_prob) for token_id, log_prob in log_probs.items()}


def test_a_token_that_is_an_end_token_elsewhere_stays():
    (tokens,) = read(sequence([5, 7], "length"), end_ids=[7])
    assert (tokens.token_ids, tokens.finish) == ([5, 7], "length")


def test_an_abort_is_a_cancelled_end():
    (tokens,) = read(sequence((), "abort", index=3))
    assert (tokens.token_ids, tokens.finish, tokens.index) == ([], "cancelled", 3)


def test_another_end_or_a_missing_log_probability_is_an_error():
    with pytest.raises(EngineError, match="'error'"):
        read(sequence([5], "error"))
    with pytest.raises(EngineError, match="log probability"):
        read(sequence([5], None, [{6: SimpleNamespace(logprob=-1.0)}]), log_probs=True)
