# SPDX-License-Identifier: Apache-2.0
"""The outputs of an engine step, handed over at once, and what is read from one."""

import asyncio
import threading
from types import SimpleNamespace

import pytest

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.vllm.api import read_output
from llm_ensemble.engines.vllm.hand_over import HandOver
from llm_ensemble.errors import EngineError


def test_the_outputs_of_a_step_come_in_order_in_one_thread_by_one_hand_over():
    got, threads, handed = [], set(), []

    def take(key, output):
        got.append((key, output))
        threads.add(threading.current_thread().name)

    async def two_steps():
        hand_over = HandOver(asyncio.get_running_loop(), take)
        real = hand_over._hand_over
        hand_over._hand_over = lambda: (handed.append(len(hand_over._gathered)), real())
        for step in range(2):
            for key in range(3):
                hand_over.put(key, step)
            await asyncio.sleep(0)
        hand_over.close(10)

    asyncio.run(two_steps())
    assert got == [(key, step) for step in range(2) for key in range(3)]
    assert handed == [3, 3]
    assert threads == {"vllm-outputs"}


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
