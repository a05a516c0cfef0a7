# SPDX-License-Identifier: Apache-2.0
"""What is read from vLLM's outputs, which of them pass by its output processor, how steps are merged."""

import asyncio
import threading
from types import SimpleNamespace

import pytest

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.protocol import Tokens
from llm_ensemble.engines.vllm.api import read_output
from llm_ensemble.engines.vllm.hand_over import HandOver
from llm_ensemble.engines.vllm.token_sink import take_plain_tokens
from llm_ensemble.errors import EngineError


class Handed:
    """A HandOver whose thread stands still in each delivery until it may go on."""

    def __init__(self):
        self.batches, self.threads = [], set()
        self._may_go_on = threading.Semaphore(0)
        self.hand_over = HandOver(asyncio.get_running_loop(), self._deliver)

    def _deliver(self, batch):
        self.threads.add(threading.current_thread().name)
        self.batches.append(batch)
        assert self._may_go_on.acquire(timeout=30)

    async def step(self, *plain, last=None):
        """What a step of vLLM gives; afterwards the loop has turned."""
        self.hand_over.put_plain((key, 0, [token]) for key, token in plain)
        if last:
            self.hand_over.put(*last)
        await asyncio.sleep(0)

    async def batch(self, number):
        """Wait for a delivery to begin."""
        while len(self.batches) <= number:
            await asyncio.sleep(0.001)
        return self.batches[number]

    def go_on(self):
        self._may_go_on.release()


def test_a_step_is_handed_over_at_once_and_the_steps_that_come_while_the_thread_works_are_merged():
    async def steps():
        handed = Handed()
        await handed.step(("a", 1), ("b", 5))
        assert await handed.batch(0) == {"a": [Tokens([1])], "b": [Tokens([5])]}
        await handed.step(("a", 2), ("b", 6))
        await handed.step(("a", 3), ("b", 7), ("c", 9))
        handed.go_on()
        assert await handed.batch(1) == {
            "a": [Tokens([2, 3])],
            "b": [Tokens([6, 7])],
            "c": [Tokens([9])],
        }
        handed.go_on()
        handed.hand_over.close(30)
        assert (len(handed.batches), handed.threads) == (2, {"vllm-outputs"})

    asyncio.run(steps())


def test_an_end_goes_before_what_can_wait_and_after_its_own_tokens():
    async def steps():
        handed = Handed()
        await handed.step(("a", 1), ("b", 5))
        await handed.batch(0)
        await handed.step(("a", 2), ("b", 6))
        await handed.step(("a", 3), last=("b", [Tokens([7], "length")]))
        await handed.step(("a", 4), last=("c", [Tokens([9])]))
        for _ in range(3):
            handed.go_on()
        assert await handed.batch(1) == {"b": [Tokens([6]), Tokens([7], "length")]}
        assert await handed.batch(2) == {"c": [Tokens([9])]}
        assert await handed.batch(3) == {"a": [Tokens([2, 3, 4])]}
        handed.go_on()
        handed.hand_over.close(30)

    asyncio.run(steps())


def test_tokens_of_another_sequence_and_tokens_after_an_end_are_not_merged():
    async def steps():
        handed = Handed()
        await handed.step(("a", 1))
        await handed.batch(0)
        handed.hand_over.put_plain([("a", 0, [2]), ("a", 1, [5]), ("a", 1, [6]), ("a", 0, [3])])
        handed.hand_over.put("a", [Tokens([4], "stop")])
        handed.hand_over.put_plain([("a", 0, [9]), ("a", 1, [7])])
        await asyncio.sleep(0)
        handed.go_on()
        assert await handed.batch(1) == {
            "a": [
                Tokens([2]),
                Tokens([5, 6], index=1),
                Tokens([3]),
                Tokens([4], "stop"),
                Tokens([9]),
                Tokens([7], index=1),
            ]
        }
        handed.go_on()
        handed.hand_over.close(30)

    asyncio.run(steps())


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
