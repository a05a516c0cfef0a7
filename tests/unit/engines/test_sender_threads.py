# SPDX-License-Identifier: Apache-2.0
"""Delivery in threads: in order for each request, merged where a callback is slow."""

import threading

import pytest

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.merge import MAX_UNMERGED
from llm_ensemble.engines.protocol import GenerationRequest, Tokens
from llm_ensemble.engines.scheduler import Scheduler
from llm_ensemble.engines.tensorrt_llm.sender_threads import THREADS, SenderThreads

SECONDS = 30  # far more than anything here takes


class Receiver:
    """A request whose callback waits, once it has its first tokens, until the test lets it go on."""

    def __init__(self, scheduler, stream_id=1):
        self.received, self.began, self.go_on, self.ended = (
            [],
            threading.Event(),
            threading.Event(),
            threading.Event(),
        )
        request = GenerationRequest(stream_id, [1], Sampling(max_tokens=1000), str(stream_id), lambda: None)
        self.active = scheduler.add(request, self.take)

    def take(self, tokens):
        self.received.append(tokens)
        self.began.set()
        assert self.go_on.wait(SECONDS)
        if tokens.finish or tokens.error:
            self.ended.set()

    @property
    def token_ids(self):
        return [token_id for tokens in self.received for token_id in tokens.token_ids]


@pytest.fixture
def aborted():
    return []


@pytest.fixture
def threads():
    threads = SenderThreads()
    yield threads
    threads.close(SECONDS)


@pytest.fixture
def scheduler(threads, aborted):
    return Scheduler(1000, 0, aborted.append, threads.put)


def test_a_slow_callback_gets_all_its_tokens_in_order_in_fewer_pieces(scheduler):
    receiver = Receiver(scheduler)
    scheduler.deliver(receiver.active, [Tokens([0])])
    assert receiver.began.wait(SECONDS)
    for token_id in range(1, 100):
        tokens = Tokens([token_id], log_probs=[-token_id], top_ids=[token_id], top_log_probs=[-token_id])
        scheduler.deliver(receiver.active, [tokens])
    scheduler.deliver(receiver.active, [Tokens([100], "length", log_probs=[-100])])
    receiver.go_on.set()
    assert receiver.ended.wait(SECONDS)
    assert receiver.token_ids == list(range(101))
    assert len(receiver.received) == 2
    assert receiver.received[1].finish == "length"
    assert receiver.received[1].log_probs == [-number for number in range(1, 101)]
    assert receiver.received[1].top_ids == [*range(1, 100)]
    assert receiver.received[1].top_log_probs == [-number for number in range(1, 100)]


def test_sequences_are_not_mixed_and_a_cancelled_end_comes_last(scheduler):
    receiver = Receiver(scheduler)
    scheduler.deliver(receiver.active, [Tokens([0])])
    assert receiver.began.wait(SECONDS)
    for number in range(MAX_UNMERGED):
        scheduler.deliver(receiver.active, [Tokens([number], index=number % 2)])
    scheduler.deliver(receiver.active, [Tokens([], "cancelled")])
    receiver.go_on.set()
    assert receiver.ended.wait(SECONDS)
    first, *merged, end = receiver.received
    assert first.token_ids == [0]
    assert {tokens.index: tokens.token_ids for tokens in merged} == {0: [0, 2, 4, 6], 1: [1, 3, 5, 7]}
    assert end.finish == "cancelled"


def test_a_stalled_callback_holds_up_no_other_request(scheduler):
    stalled = [Receiver(scheduler, number) for number in range(THREADS - 1)]
    for receiver in stalled:
        scheduler.deliver(receiver.active, [Tokens([1])])
        assert receiver.began.wait(SECONDS)
    other = Receiver(scheduler, THREADS)
    other.go_on.set()
    scheduler.deliver(other.active, [Tokens([1], "stop")])
    assert other.ended.wait(SECONDS)
    for receiver in stalled:
        receiver.go_on.set()


def test_a_callback_that_raises_aborts_its_request_and_gets_nothing_of_what_was_pending(
    scheduler, threads, aborted
):
    received, raised, entered = [], threading.Event(), threading.Event()

    def take(tokens):
        received.append(tokens)
        entered.set()
        assert raised.wait(SECONDS)
        raise OSError("gone")

    active = scheduler.add(GenerationRequest(1, [1], Sampling(max_tokens=9), "1", lambda: None), take)
    scheduler.deliver(active, [Tokens([1])])
    assert entered.wait(SECONDS)
    scheduler.deliver(active, [Tokens([2])])
    raised.set()
    threads.close(SECONDS)
    assert [aborted, len(received)] == [[active], 1]
