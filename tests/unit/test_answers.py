# SPDX-License-Identifier: Apache-2.0
import pytest

from llm_ensemble import answers
from llm_ensemble.answers import Answers, AnswerSender
from llm_ensemble.completion import SequenceText, Text
from llm_ensemble.errors import EngineError


@pytest.fixture(autouse=True)
def own_address(monkeypatch, tmp_path):
    monkeypatch.setattr(answers, "address", lambda: f"\0{tmp_path}")


@pytest.fixture
def box():
    return Answers()


def text(words):
    return Text([SequenceText(words, "stop", 2, [-0.5], -0.5)], 3, True)


def test_each_answer_reaches_who_expects_its_number(box):
    sender = AnswerSender()
    with box.expect(1) as one, box.expect(2) as two:
        sender.send(2, text("hé\0"))
        sender.send(3, text("nobody's"))
        sender.send(1, text("x" * 3_000_000))
        assert two.result(5) == text("hé\0")
        assert len(one.result(5).sequences[0].text) == 3_000_000
    assert box._expected == {}
    sender._connection.close()


def test_garbage_and_a_silent_connection_keep_nobody_from_the_answers(box):
    garbage, silent = (answers.Client(answers.address(), "AF_UNIX") for _ in range(2))
    garbage.send_bytes(b"\xc1")
    sender = AnswerSender()
    with box.expect(1) as one:
        sender.send(1, text("a"))
        assert one.result(5) == text("a")
    for connection in (garbage, silent, sender._connection):
        connection.close()


def test_a_second_instance_is_refused(box):
    with pytest.raises(EngineError, match="must have one instance"):
        Answers()


def test_an_answer_that_nobody_takes_is_an_error_and_the_next_connects_again():
    sender = AnswerSender()
    with pytest.raises(EngineError, match="ensemble_unary does not take the answer"):
        sender.send(1, text("a"))
    box = Answers()
    with box.expect(1) as one:
        sender.send(1, text("a"))
        assert one.result(5) == text("a")
    sender._connection.close()
