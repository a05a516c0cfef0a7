# SPDX-License-Identifier: Apache-2.0
import pytest

from llm_ensemble.engines.admission import Admission, Entry
from llm_ensemble.engines.base import GenerationRequest
from llm_ensemble.errors import Overloaded
from llm_ensemble.sampling import Sampling


def entry(number, width=1):
    sampling = Sampling(max_tokens=1, num_return_sequences=width)
    return Entry(GenerationRequest(number, [1], sampling), print)


def load(admission):
    return admission.running, admission.waiting


def test_who_comes_first_runs_first_and_who_leaves_makes_room():
    admission = Admission(max_running=2, max_waiting=2)
    entries = [entry(i) for i in range(4)]
    for one in entries:
        admission.enter(one)
    assert [admission.next(), admission.next(), admission.next()] == [entries[0], entries[1], None]
    assert load(admission) == (2, 2)
    admission.leave(entries[0])
    admission.leave(entries[0])
    assert admission.next() is entries[2]
    assert load(admission) == (2, 1)


def test_one_too_many_is_refused_with_the_load_and_leaves_no_trace():
    admission = Admission(max_running=1, max_waiting=1)
    admission.enter(entry(1))
    admission.next()
    admission.enter(entry(2))
    with pytest.raises(Overloaded, match="^Exceeds maximum queue size: 1 running, 1 waiting; try again"):
        admission.enter(entry(3))
    assert (load(admission), admission.find(3)) == ((1, 1), None)


def test_a_request_of_several_sequences_takes_as_many_places_and_is_not_overtaken():
    admission = Admission(max_running=4, max_waiting=10)
    small, wide, late = entry(1), entry(2, width=4), entry(3)
    for one in (small, wide, late):
        admission.enter(one)
    assert [admission.next(), admission.next()] == [small, None]
    assert load(admission) == (1, 5)
    admission.leave(small)
    assert [admission.next(), admission.next()] == [wide, None]
    admission.leave(wide)
    assert admission.next() is late


def test_a_request_wider_than_the_batch_runs_alone_rather_than_never():
    admission = Admission(max_running=2, max_waiting=10)
    wide = entry(1, width=3)
    admission.enter(wide)
    assert admission.next() is wide


def test_who_leaves_the_queue_was_never_there():
    admission = Admission(max_running=1, max_waiting=2)
    entries = [entry(i) for i in range(3)]
    for one in entries:
        admission.enter(one)
    admission.next()
    admission.leave(entries[1])
    admission.leave(entries[0])
    assert load(admission) == (0, 1)
    assert admission.next() is entries[2]
    assert admission.entries == [entries[2]]


def test_who_runs_is_told_so_once_and_who_leaves_before_never():
    admission = Admission(max_running=1, max_waiting=2)
    told = []
    entries = [
        Entry(GenerationRequest(i, [1], Sampling(max_tokens=1), let_in=lambda i=i: told.append(i)), print)
        for i in range(3)
    ]
    for one in entries:
        admission.enter(one)
    assert [admission.next(), admission.next(), told] == [entries[0], None, [0]]
    admission.leave(entries[1])
    admission.leave(entries[0])
    assert (admission.next(), told) == (entries[2], [0, 2])
