# SPDX-License-Identifier: Apache-2.0
import contextlib
import os
import queue

import pytest

from llm_ensemble.contract.stream_id import StreamId
from llm_ensemble.errors import EngineError
from llm_ensemble.ipc import mailbox
from llm_ensemble.ipc.aborts import AbortSender, receive_aborts
from llm_ensemble.ipc.mailbox import Mailbox, Sender
from tests.waiting import SECONDS, wait_for

pytestmark = pytest.mark.usefixtures("own_mailboxes")


def test_notes_arrive_in_order_and_a_bad_one_or_a_silent_sender_stops_no_other(caplog):
    came = queue.SimpleQueue()
    box = Mailbox("me", lambda note: came.put(note) if note != b"bad" else 1 / 0)
    silent = mailbox.Client(mailbox.address("me"), "AF_UNIX")
    sender = Sender("me")
    for note in (b"a", b"bad", b"b"):
        sender.send(note)
    assert [came.get(timeout=SECONDS), came.get(timeout=SECONDS)] == [b"a", b"b"]
    assert "a message was not understood" in caplog.text
    silent.close()
    assert box


def test_a_second_instance_is_refused():
    first = Mailbox("me", print)
    with pytest.raises(EngineError, match="me runs already: its config.pbtxt must have one instance"):
        Mailbox("me", print)
    assert first


def test_a_message_without_a_mailbox_is_an_error_and_the_next_connects_again():
    sender = Sender("me")
    with pytest.raises(EngineError, match="me takes no messages"):
        sender.send(b"a")
    came = queue.SimpleQueue()
    box = Mailbox("me", came.put)
    sender.send(b"b")
    assert came.get(timeout=SECONDS) == b"b"
    assert box


def test_a_note_from_another_user_is_not_read(monkeypatch, caplog):
    """An abstract socket has no permissions, so a stranger on the machine could answer for the engine."""
    came = queue.SimpleQueue()
    box = Mailbox("me", came.put)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(mailbox.os, "geteuid", lambda: os.getuid() + 1)
        stranger = mailbox.Client(mailbox.address("me"), "AF_UNIX")
        with contextlib.suppress(BrokenPipeError):
            stranger.send_bytes(b"forged")
        wait_for(lambda: f"a process of user {os.getuid()} sent a message" in caplog.text)
    Sender("me").send(b"real")
    assert came.get(timeout=SECONDS) == b"real"
    assert box
    stranger.close()


def test_an_abort_goes_to_the_instance_that_runs_the_stream_and_one_of_ensemble_unary_to_all(caplog):
    came = [queue.SimpleQueue(), queue.SimpleQueue()]
    boxes = [receive_aborts(i, came[i].put) for i in range(2)]
    sender = AbortSender(2)
    of_first, of_second, of_third = (next(StreamId.of_instance(i)) for i in range(3))
    unary = StreamId.for_unary()
    for stream_id in (of_first, of_second, unary):
        sender.abort(stream_id)
    assert [came[0].get(timeout=SECONDS) for _ in range(2)] == [of_first, unary]
    assert [came[1].get(timeout=SECONDS) for _ in range(2)] == [of_second, unary]
    for other in (of_third, StreamId(2**63 - 1)):
        sender.abort(other)  # neither of the two instances gave it
    last = StreamId(2**64 - 1)
    sender.abort(last)
    assert [box.get(timeout=SECONDS) for box in came] == [last] * 2
    AbortSender(3).abort(of_third)
    assert f"stream {of_third} could not be aborted: tensorrt_llm.2 takes no messages" in caplog.text
    assert boxes
