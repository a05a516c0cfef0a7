# SPDX-License-Identifier: Apache-2.0
import queue
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_ensemble.contract.request import Chunk, Part
from llm_ensemble.errors import EngineError
from llm_ensemble.ipc.chunks import ChunkReceiver, ChunkSender, ClaimSender, merged, receive_claims
from tests.waiting import SECONDS

pytestmark = pytest.mark.usefixtures("own_mailboxes")


def test_a_claim_brings_the_chunks_of_its_stream_to_the_instance_that_claimed_it():
    came = {owner: queue.SimpleQueue() for owner in (0, 1)}
    receivers = [ChunkReceiver(owner, came[owner].put) for owner in came]

    def answer(stream, send):
        for last in (False, True):
            send(Chunk(stream, [Part(0, [stream], "stop" if last else "")], last))

    mailboxes = [receive_claims(engine, answer) for engine in (0, 1)]
    for owner in came:
        claims = ClaimSender(owner, engines=2)
        for engine in (0, 1):
            claims.claim(10 * owner + engine, engine)
    for owner in came:
        ids = []
        while len(ids) < 4:  # those of a stream may have become one
            ids += came[owner].get(timeout=SECONDS).parts[0].token_ids
        assert sorted(ids) == sorted([10 * owner, 10 * owner + 1] * 2)
    assert receivers
    assert mailboxes


def test_chunks_that_came_while_others_were_worked_on_become_one_a_stream_in_their_order():
    busy, go_on, came = threading.Event(), threading.Event(), queue.SimpleQueue()

    def work(chunk):
        busy.set()
        go_on.wait(SECONDS)
        came.put(chunk)

    receiver = ChunkReceiver(0, work)
    send = ChunkSender().to(0)
    send(Chunk(1, [Part(0, [1])]))
    busy.wait(SECONDS)
    for i in range(2, 20):  # too many for one read to be a matter of course
        send(Chunk(1, [Part(0, [i], "", [-float(i)], [i, 0], [-float(i), -99.0])]))
        send(Chunk(2, [Part(0, [i])]))
    send(Chunk(1, [Part(0, [20], "length")], last=True))
    send(Chunk(2, [], last=True, error="it burst"))
    go_on.set()
    chunks = [came.get(timeout=SECONDS) for _ in range(3)]
    assert [(chunk.stream, chunk.parts[0].token_ids) for chunk in chunks] == [
        (1, [1]),
        (1, [*range(2, 21)]),
        (2, [*range(2, 20)]),
    ]
    assert (chunks[1].parts[0].finish, chunks[1].last) == ("length", True)
    assert chunks[1].parts[0].log_probs == [-float(i) for i in range(2, 20)]
    assert chunks[1].parts[0].top_ids == [one for i in range(2, 20) for one in (i, 0)]
    assert chunks[1].parts[0].top_log_probs == [one for i in range(2, 20) for one in (-float(i), -99.0)]
    assert (chunks[2].last, chunks[2].error) == (True, "it burst")
    assert receiver


def test_a_message_longer_than_a_read_arrives_whole():
    came = queue.SimpleQueue()
    receiver = ChunkReceiver(0, came.put)
    ids = [*range(10**6)]
    ChunkSender().to(0)(Chunk(1, [Part(0, ids)]))
    assert came.get(timeout=SECONDS).parts[0].token_ids == ids
    assert receiver


def test_without_the_instance_a_chunk_and_a_claim_are_errors():
    with pytest.raises(EngineError, match="postprocessing.3 takes no messages"):
        ChunkSender().to(3)(Chunk(1, []))
    with pytest.raises(EngineError, match="claims.1 takes no messages"):
        ClaimSender(0, engines=2).claim(5, 1)


parts = st.builds(Part, st.integers(0, 2), st.lists(st.integers(0, 9), max_size=3))
chunk_parts = st.lists(parts, max_size=3, unique_by=lambda part: part.index)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(several=st.lists(chunk_parts, min_size=2, max_size=5))
def test_merged_chunks_have_every_token_of_each_sequence_in_order(several):
    chunk = Chunk(1, several[0])
    for more in several[1:]:
        chunk = merged(chunk, Chunk(1, more))
    for index in range(3):
        ids = [i for one in several for part in one if part.index == index for i in part.token_ids]
        assert [i for part in chunk.parts if part.index == index for i in part.token_ids] == ids
