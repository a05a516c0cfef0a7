# SPDX-License-Identifier: Apache-2.0
"""When requests go into vLLM: immediately after a pause, together while many run."""

from llm_ensemble.engines.vllm.arrivals import MAX_SECONDS, SECONDS, Arrivals


class Loop:
    """A clock and its timers, as an event loop has them."""

    def __init__(self):
        self.now, self.timers = 100.0, []

    def time(self):
        return self.now

    def call_later(self, seconds, function):
        self.timers.append((self.now + seconds, function))

    def sleep(self, seconds):
        self.now += seconds
        due = [function for at, function in self.timers if at <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for function in due:
            function()


def arrivals(running):
    loop, started = Loop(), []
    return loop, started, Arrivals(loop, started.append, lambda: running)


def test_the_first_after_a_pause_starts_immediately():
    loop, started, waiting = arrivals(running=256)
    for number in range(3):
        waiting.add(number)
        assert started == [*range(number + 1)]
        loop.sleep(MAX_SECONDS)


def test_those_that_come_soon_after_start_together_and_in_order():
    loop, started, waiting = arrivals(running=100)
    for number in range(4):
        waiting.add(number)
        loop.sleep(21 * SECONDS)
    assert started == [0]
    loop.sleep(21 * SECONDS)
    assert started == [0, 1, 2, 3]
    assert not loop.timers


def test_few_that_run_delay_none_by_more_than_their_share():
    loop, started, waiting = arrivals(running=1)
    waiting.add(0)
    waiting.add(1)
    assert started == [0]
    loop.sleep(SECONDS)
    assert started == [0, 1]


def test_however_many_run_the_wait_is_bounded():
    loop, started, waiting = arrivals(running=100_000)
    waiting.add(0)
    waiting.add(1)
    loop.sleep(MAX_SECONDS)
    assert started == [0, 1]
