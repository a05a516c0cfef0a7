# SPDX-License-Identifier: Apache-2.0
import queue
import time
from multiprocessing.connection import Listener

import pytest

from llm_ensemble.contract.request import Chunk, Part, Refusal, Request, Submission, TextOptions
from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.errors import EngineError, Overloaded
from llm_ensemble.ipc import mailbox
from llm_ensemble.ipc.chunks import ChunkReceiver
from llm_ensemble.ipc.submissions import SubmissionSender, ensemble_unary, receive_submissions
from tests.waiting import SECONDS

pytestmark = pytest.mark.usefixtures("own_mailboxes")
REQUEST = Request(Sampling(max_tokens=9), TextOptions(False, ["x"], "", 2), time.monotonic() + 60)


def submission(number, owner, input_ids=(5, 6)):
    return Submission(number, owner, [*input_ids], REQUEST, "mine")


def test_a_request_reaches_the_engine_whose_turn_it_is_and_its_chunks_the_instance_that_sent_it():
    def answer(engine):
        return lambda submission, send: send(Chunk(submission.stream, [Part(engine, submission.input_ids)]))

    mailboxes = [receive_submissions(engine, answer(engine)) for engine in (0, 1)]
    came = [queue.SimpleQueue() for _ in range(2)]
    receivers = [ChunkReceiver(ensemble_unary(owner), came[owner].put) for owner in (0, 1)]
    senders = [SubmissionSender(engines=2) for _ in range(2)]
    for owner, sender in enumerate(senders):
        for turn in range(4):
            sender.send(sender.next_engine(), submission(10 * owner + turn, owner, range(30_000)))
    for owner in (0, 1):
        chunks = [came[owner].get(timeout=SECONDS) for _ in range(4)]
        seen = {chunk.stream: (chunk.parts[0].index, len(chunk.parts[0].token_ids)) for chunk in chunks}
        assert seen == {10 * owner + turn: (turn % 2, 30_000) for turn in range(4)}
    assert [sender.gone() for sender in senders] == [[], []]
    assert mailboxes
    assert receivers


def test_the_whole_request_arrives_and_a_refusal_goes_back():
    took, came = queue.SimpleQueue(), queue.SimpleQueue()
    refusal = Refusal.of(Overloaded("4 running, 2 waiting"))

    def refuse(submission, send):
        took.put(submission)
        send(Chunk(submission.stream, [], last=True, refusal=refusal))

    mailbox, receiver = receive_submissions(0, refuse), ChunkReceiver(ensemble_unary(3), came.put)
    SubmissionSender(1).send(0, submission(2**63 + 7, 3))
    assert took.get(timeout=SECONDS) == submission(2**63 + 7, 3)
    assert came.get(timeout=SECONDS) == Chunk(2**63 + 7, [], last=True, refusal=refusal)
    assert mailbox
    assert receiver


def test_an_engine_that_has_gone_is_noticed_without_sending_to_it():
    """Its streams would wait for chunks that never come."""
    sender = SubmissionSender(engines=2)
    with Listener(mailbox.address("submissions.1"), "AF_UNIX"):
        sender.send(1, submission(1, 0))
        assert sender.gone() == []
    assert sender.gone() == [1]
    with pytest.raises(EngineError, match="submissions.1 takes no messages"):
        sender.send(1, submission(2, 0))
    assert sender.gone() == [1]
