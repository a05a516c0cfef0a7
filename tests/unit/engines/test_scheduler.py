# SPDX-License-Identifier: Apache-2.0
import pytest

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.protocol import GenerationRequest, Tokens
from llm_ensemble.engines.scheduler import Scheduler
from llm_ensemble.errors import EngineError, Overloaded


def request(stream_id, width=1, on_scheduled=lambda: None):
    sampling = Sampling(max_tokens=1, num_return_sequences=width)
    return GenerationRequest(stream_id, [1], sampling, str(stream_id), on_scheduled)


def add(scheduler, stream_id, width=1):
    return scheduler.add(request(stream_id, width), lambda tokens: None)


def test_first_come_first_served_and_an_ended_request_frees_its_slot():
    scheduler = Scheduler(max_running=2, max_waiting=2)
    added = [add(scheduler, i) for i in range(4)]
    assert [scheduler.schedule() for _ in range(3)] == [added[0], added[1], None]
    assert scheduler.load == (2, 2)
    scheduler.finish(added[0])
    scheduler.finish(added[0])
    assert scheduler.schedule() is added[2]
    assert scheduler.load == (2, 1)


def test_one_too_many_is_rejected_with_the_load_and_leaves_no_trace():
    scheduler = Scheduler(max_running=1, max_waiting=1)
    open_ = [add(scheduler, 1)]
    scheduler.schedule()
    open_.append(add(scheduler, 2))
    with pytest.raises(Overloaded, match="^Exceeds maximum queue size: 1 running, 1 waiting; try again"):
        add(scheduler, 3)
    assert (scheduler.load, scheduler.requests) == ((1, 1), open_)


def test_a_request_of_several_sequences_takes_as_many_slots_and_is_not_overtaken():
    scheduler = Scheduler(max_running=4, max_waiting=10)
    small, wide, late = add(scheduler, 1), add(scheduler, 2, width=4), add(scheduler, 3)
    assert [scheduler.schedule(), scheduler.schedule()] == [small, None]
    assert scheduler.load == (1, 5)
    scheduler.finish(small)
    assert [scheduler.schedule(), scheduler.schedule()] == [wide, None]
    scheduler.finish(wide)
    assert scheduler.schedule() is late


def test_a_request_wider_than_the_batch_runs_alone_rather_than_never():
    scheduler = Scheduler(max_running=2, max_waiting=10)
    wide = add(scheduler, 1, width=3)
    assert scheduler.schedule() is wide


def test_a_request_that_ends_in_the_queue_is_never_scheduled():
    scheduler = Scheduler(max_running=1, max_waiting=2)
    added = [add(scheduler, i) for i in range(3)]
    scheduler.schedule()
    scheduler.finish(added[1])
    scheduler.finish(added[0])
    assert scheduler.load == (0, 1)
    assert scheduler.schedule() is added[2]
    assert scheduler.requests == [added[2]]


def test_on_scheduled_is_called_once_when_a_request_runs_and_never_if_it_ends_before():
    scheduler = Scheduler(max_running=1, max_waiting=2)
    called = []
    added = [
        scheduler.add(request(i, on_scheduled=lambda i=i: called.append(i)), lambda tokens: None)
        for i in range(3)
    ]
    assert [scheduler.schedule(), scheduler.schedule(), called] == [added[0], None, [0]]
    scheduler.finish(added[1])
    scheduler.finish(added[0])
    assert (scheduler.schedule(), called) == (added[2], [0, 2])


def test_a_request_ends_with_its_last_sequence_and_gets_nothing_after():
    scheduler = Scheduler(max_running=2, max_waiting=0)
    received = []
    active = scheduler.add(request(1, width=2), received.append)
    scheduler.schedule()
    news = [Tokens([1], index=0), Tokens([2], "length", index=1), Tokens([3], "stop", index=0)]
    scheduler.deliver(active, news[:2])
    assert scheduler.load == (2, 0)
    scheduler.deliver(active, [news[2], Tokens([4])])
    scheduler.deliver(active, [Tokens([5])])
    scheduler.finish(active)
    assert (received, scheduler.load, scheduler.requests) == (news, (0, 0), [])


def test_cancelled_or_an_error_ends_all_sequences_of_a_request():
    for end in (Tokens([], "cancelled"), Tokens([], error=EngineError("broken"))):
        scheduler = Scheduler(max_running=4, max_waiting=0)
        received = []
        active = scheduler.add(request(1, width=4), received.append)
        scheduler.deliver(active, [end, Tokens([1], index=1)])
        assert (received, active.finished, scheduler.load) == ([end], True, (0, 0))


def test_slots_are_free_when_the_callback_gets_the_end():
    scheduler = Scheduler(max_running=1, max_waiting=0)
    loads = []
    active = scheduler.add(request(1), lambda tokens: loads.append(scheduler.load))
    scheduler.schedule()
    scheduler.deliver(active, [Tokens([1])])
    scheduler.deliver(active, [Tokens([2], "length")])
    assert loads == [(1, 0), (0, 0)]


def test_an_abort_marks_the_request_and_leaves_its_slot_to_the_engine():
    aborted = []
    scheduler = Scheduler(1, 1, on_abort=aborted.append)
    running, waiting = add(scheduler, 1), add(scheduler, 2)
    scheduler.schedule()
    scheduler.abort(1)
    scheduler.abort(77)
    assert (aborted, running.aborted, waiting.aborted) == ([running], True, False)
    assert scheduler.load == (1, 1)
    scheduler.finish(running)
    scheduler.abort(1)
    assert aborted == [running]


def test_two_open_requests_of_one_stream_id_are_both_aborted_and_free_their_slots():
    aborted = []
    scheduler = Scheduler(2, 0, on_abort=aborted.append)
    first, second = add(scheduler, 7), add(scheduler, 7)
    scheduler.abort(7)
    assert aborted == [first, second]
    for active in (first, second):
        scheduler.finish(active)
    assert (scheduler.load, scheduler.requests) == ((0, 0), [])


def test_closing_ends_every_open_request_as_cancelled_and_refuses_new_ones():
    received, aborted = [], []
    scheduler = Scheduler(1, 1, on_abort=aborted.append)
    added = [scheduler.add(request(i), received.append) for i in range(2)]
    scheduler.schedule()
    assert (scheduler.close(), scheduler.close()) == (True, False)
    assert [tokens.finish for tokens in received] == ["cancelled"] * 2
    assert (aborted, scheduler.load, scheduler.closed, scheduler.failed) == (added, (0, 0), True, False)
    with pytest.raises(EngineError, match="^the engine is closed$"):
        add(scheduler, 9)


def test_a_failure_ends_every_open_request_with_an_error_once(caplog):
    received = []
    scheduler = Scheduler(1, 1)
    active = scheduler.add(request(1), received.append)
    scheduler.fail("a worker process has ended")
    scheduler.fail("another reason")
    scheduler.finish(active)
    assert [str(tokens.error) for tokens in received] == ["the engine failed"]
    assert caplog.messages == ["the engine failed; every open request ends (a worker process has ended)"]
    with pytest.raises(EngineError, match="^the engine failed$"):
        add(scheduler, 9)
    assert scheduler.close()
    assert (scheduler.failed, len(received)) == (True, 1)


def test_a_failure_after_closing_is_none(caplog):
    scheduler = Scheduler(1, 1)
    scheduler.close()
    scheduler.fail("it has shut itself down")
    assert (scheduler.failed, caplog.messages) == (False, [])


def test_a_callback_that_raises_aborts_its_request_alone_and_gets_only_the_end_from_then_on(caplog):
    received, others, aborted = [], [], []
    scheduler = Scheduler(2, 0, on_abort=aborted.append)

    def fail(tokens):
        received.append(tokens)
        raise OSError("gone")

    active, other = scheduler.add(request(1), fail), scheduler.add(request(2), others.append)
    scheduler.deliver(active, [Tokens([1]), Tokens([2])])
    scheduler.deliver(active, [Tokens([3])])
    scheduler.deliver(other, [Tokens([1])])
    assert (received, others, aborted) == ([Tokens([1])], [Tokens([1])], [active])
    assert (active.aborted, other.aborted) == (True, False)
    scheduler.finish(active)
    assert (received[1:], aborted, scheduler.requests) == ([Tokens([], "cancelled")], [active], [other])
    assert "gone" in caplog.text
