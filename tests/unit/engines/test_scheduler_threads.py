# SPDX-License-Identifier: Apache-2.0
"""What the scheduler guarantees while several threads use it."""

import random
import threading
import time

import pytest

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines import scheduler as scheduler_module
from llm_ensemble.engines.protocol import GenerationRequest, Tokens
from llm_ensemble.engines.scheduler import Scheduler
from llm_ensemble.errors import EngineError, Overloaded

SECONDS = 30  # far more than anything here takes


def request(stream_id, width=1, on_scheduled=lambda: None):
    sampling = Sampling(max_tokens=1000, num_return_sequences=width)
    return GenerationRequest(stream_id, [1], sampling, str(stream_id), on_scheduled)


def run_together(*functions):
    """Run the functions in a thread each, which start together; fail if one does not return or raises."""
    barrier, errors = threading.Barrier(len(functions)), []

    def run(function):
        try:
            barrier.wait(SECONDS)
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,), daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    assert not errors


class Receiver:
    """Takes the tokens of one request, and how many threads are in its callback at once."""

    def __init__(self, pause=lambda: None):
        self.received = []
        self.most_inside = 0
        self._inside = 0
        self._pause = pause

    def __call__(self, tokens):
        self._inside += 1
        self.most_inside = max(self.most_inside, self._inside)
        self._pause()
        self.received.append(tokens)
        self._inside -= 1

    @property
    def ends(self):
        return [tokens for tokens in self.received if tokens.finish or tokens.error]


@pytest.fixture(autouse=True)
def frequent_switches():
    """Let threads take turns at any line of the scheduler: CPython alone hardly does, which hides races."""

    def trace(frame, event, argument):
        if frame.f_code.co_filename != scheduler_module.__file__:
            return None
        if random.random() < 0.2:
            time.sleep(0)
        return trace

    threading.settrace(trace)
    yield
    threading.settrace(None)


def test_tokens_from_several_threads_are_delivered_in_order_one_call_at_a_time():
    for _ in range(10):
        scheduler, receiver = Scheduler(1, 0), Receiver(pause=lambda: sum(range(50)))
        active = scheduler.add(request(1), receiver)
        order, lock = [], threading.Lock()

        def deliver(active=active, scheduler=scheduler, order=order, lock=lock):
            for _ in range(50):
                with lock:
                    order.append(len(order))
                    number = order[-1]
                scheduler.deliver(active, [Tokens([number])])

        run_together(deliver, deliver, deliver)
        ids = [token_id for tokens in receiver.received for token_id in tokens.token_ids]
        assert sorted(ids) == order, "tokens were lost"
        assert receiver.most_inside == 1


def test_pieces_that_one_thread_delivers_while_another_sends_keep_their_order():
    inside, go_on = threading.Event(), threading.Event()
    received = []

    def receive(tokens):
        received.append(tokens.token_ids[0])
        inside.set()
        assert go_on.wait(SECONDS)

    scheduler = Scheduler(1, 0)
    active = scheduler.add(request(1), receive)
    sender = threading.Thread(target=scheduler.deliver, args=(active, [Tokens([0])]), daemon=True)
    sender.start()
    assert inside.wait(SECONDS)
    for number in range(1, 5):
        scheduler.deliver(active, [Tokens([number])])
    assert received == [0], "called while the first call was still running"
    go_on.set()
    sender.join(SECONDS)
    assert received == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("last", ["close", "fail", "finish"])
def test_a_request_ends_exactly_once_and_gets_nothing_after_its_end(last, caplog):
    for _ in range(40):
        scheduler, receivers = Scheduler(8, 0), [Receiver() for _ in range(4)]
        active = [scheduler.add(request(i, width=2), receiver) for i, receiver in enumerate(receivers)]
        while scheduler.schedule():
            pass

        def generate(scheduler=scheduler, active=active):
            for step in range(5):
                for one in active:
                    finish = "length" if step == 4 else ""
                    scheduler.deliver(one, [Tokens([step], finish, index=i) for i in range(2)])

        def cancel(scheduler=scheduler, active=active):
            for one in random.sample(active, 4):
                scheduler.abort(one.request.stream_id)
                scheduler.finish(one)

        def end_all(scheduler=scheduler, active=active):
            if last == "finish":
                cancel(scheduler, active)
            elif last == "fail":
                scheduler.fail("a test")
            else:
                scheduler.close()

        run_together(generate, cancel, end_all)
        for receiver in receivers:
            whole = [t for t in receiver.ends if t.error or t.finish == "cancelled"]
            parts = [t.index for t in receiver.ends if t.finish == "length"]
            assert len(whole) == 1 or sorted(parts) == [0, 1], receiver.received
            assert not (len(whole) == 1 and sorted(parts) == [0, 1])
            assert receiver.received[-1] is receiver.ends[-1], "something received after the end"
        assert (scheduler.load, scheduler.requests) == ((0, 0), [])


@pytest.mark.parametrize("end", ["close", "fail"])
def test_a_request_is_refused_or_ends_when_it_is_added_while_the_scheduler_closes(end, caplog):
    for _ in range(40):
        scheduler, receivers, refused = Scheduler(10**6, 0), [], []

        def add(scheduler=scheduler, receivers=receivers, refused=refused):
            while not refused:
                receiver = Receiver()
                try:
                    scheduler.add(request(1), receiver)
                except EngineError:
                    refused.append(receiver)
                else:
                    receivers.append(receiver)

        def end_all(scheduler=scheduler, receivers=receivers):
            while len(receivers) < 5:
                time.sleep(0)
            scheduler.fail("a test") if end == "fail" else scheduler.close()

        run_together(add, add, end_all)
        assert {len(receiver.ends) for receiver in receivers} == {1}, "an accepted request has no end"
        assert {len(receiver.received) for receiver in refused} == {0}
        assert (scheduler.load, scheduler.requests) == ((0, 0), [])


def test_several_threads_that_close_or_fail_have_one_that_did_it(caplog):
    for _ in range(40):
        scheduler, closed = Scheduler(1, 0), []
        run_together(*[lambda s=scheduler, c=closed: c.append(s.close())] * 3)
        assert sorted(closed) == [False, False, True]
    caplog.clear()
    scheduler = Scheduler(1, 0)
    run_together(*[lambda: scheduler.fail("a test")] * 4)
    assert len(caplog.records) == 1


def test_a_callback_may_call_every_method_of_the_scheduler():
    scheduler, received = Scheduler(1, 1), []

    def call_everything(tokens):
        received.append(tokens)
        scheduler.abort(1)
        if not tokens.finish:
            scheduler.finish(active)
            assert scheduler.load == (0, 0)
            scheduler.add(request(2, on_scheduled=lambda: scheduler.abort(2)), received.append)
            scheduler.schedule()
            scheduler.close()

    active = scheduler.add(request(1), call_everything)
    run_together(lambda: scheduler.deliver(active, [Tokens([1])]))
    assert [tokens.finish for tokens in received] == ["", "cancelled", "cancelled"]
    assert scheduler.load == (0, 0)


def test_a_callback_that_stalls_holds_up_no_other_request_and_no_method():
    scheduler, inside, go_on = Scheduler(2, 2), threading.Event(), threading.Event()

    def stall(tokens):
        inside.set()
        go_on.wait(SECONDS)

    stalled, other = scheduler.add(request(1), stall), Receiver()
    sender = threading.Thread(target=scheduler.deliver, args=(stalled, [Tokens([1])]), daemon=True)
    sender.start()
    assert inside.wait(SECONDS)

    def use():
        active = scheduler.add(request(2), other)
        scheduler.schedule()
        scheduler.abort(1)
        scheduler.deliver(active, [Tokens([1], "length")])
        scheduler.finish(stalled)
        assert scheduler.load == (0, 0)
        scheduler.close()

    run_together(use)
    assert other.received == [Tokens([1], "length")]
    assert sender.is_alive()
    go_on.set()
    sender.join(SECONDS)


def test_no_more_run_than_have_slots_and_every_accepted_request_runs():
    scheduler, accepted, rejected = Scheduler(2, 6), [], []
    running, most_running, lock, submitted = [], [0], threading.Lock(), []

    def submit():
        for number in range(100):
            try:
                accepted.append(scheduler.add(request(number, width=1 + number % 2), Receiver()))
            except Overloaded:
                rejected.append(number)
        submitted.append(True)

    def run():
        while len(submitted) < 2 or scheduler.requests:
            if active := scheduler.schedule():
                with lock:
                    running.append(active.width)
                    most_running[0] = max(most_running[0], sum(running))
                time.sleep(0)
                with lock:
                    running.remove(active.width)
                scheduler.deliver(active, [Tokens([1], "length", index=i) for i in range(active.width)])

    run_together(submit, submit, run, run, run)
    assert most_running[0] == 2
    assert len(accepted) + len(rejected) == 200
    assert all(len(active.on_tokens.ends) == active.width for active in accepted)
    assert scheduler.load == (0, 0)
