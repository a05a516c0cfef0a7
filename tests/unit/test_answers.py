# SPDX-License-Identifier: Apache-2.0
from llm_ensemble.answers import Answers, AnswerSender
from llm_ensemble.completion import SequenceText, Text


def text(words):
    return Text([SequenceText(words, "stop", 2, [-0.5], -0.5)], 3, True)


def test_each_answer_reaches_who_expects_its_number(own_mailboxes):
    answers, sender = Answers(), AnswerSender()
    with answers.expect(1) as one, answers.expect(2) as two:
        sender.send(2, text("hé\0"))
        sender.send(3, text("nobody's"))
        sender.send(1, text("x" * 3_000_000))
        assert two.result(5) == text("hé\0")
        assert len(one.result(5).sequences[0].text) == 3_000_000
    assert answers._expected == {}
