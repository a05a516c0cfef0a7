# SPDX-License-Identifier: Apache-2.0
from llm_ensemble.contract.stream_id import StreamId
from llm_ensemble.ipc.unary_results import UnaryResults, UnaryResultSender
from llm_ensemble.postprocessing.postprocessor import Text
from llm_ensemble.postprocessing.sequence import Scores, SequenceText


def text(words):
    return Text([SequenceText(words, "stop", 2, Scores([7], [-0.5], [7, 8], [-0.5, -1.0]), -0.5)], 3, True, 2)


def test_each_result_reaches_the_call_of_its_stream(own_mailboxes):
    results, sender = UnaryResults(), UnaryResultSender()
    with results.pending(StreamId(1)) as one, results.pending(StreamId(2)) as two:
        sender.send(StreamId(2), text("hé\0"))
        sender.send(StreamId(3), text("of no call"))
        sender.send(StreamId(1), text("x" * 3_000_000))
        assert two.result(60) == text("hé\0")
        assert len(one.result(60).sequences[0].text) == 3_000_000
    assert results._pending == {}
