# SPDX-License-Identifier: Apache-2.0
"""Answers that are read, and the log probabilities in them."""

import json

from openai_frontend.generation.log_probs import Score
from openai_frontend.generation.parsed_answer import ParsedChatAnswer
from openai_frontend.generation.pieces import Piece, Usage
from tests.unit.parsers.reading import of_format

CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'


class Bytes:
    """Every token is its number."""

    def of(self, token):
        return b"%d" % token


def answer():
    options = {"has_usage": False, "has_top": False, "make_parser": of_format("hermes")}
    return ParsedChatAnswer("m", "fp", Bytes(), **options)


def events(sent):
    return [
        json.loads(line.removeprefix("data: "))["choices"][0] for line in sent.decode().split("\n\n") if line
    ]


def test_every_token_has_its_log_probability_whatever_becomes_of_its_text():
    streamed, sent = answer(), b""
    for number, character in enumerate(CALL):
        sent += streamed.delta(Piece(0, character, scores=[Score(number, -1.0, [])]))
    sent += streamed.ending(Piece(0, finish="stop"))
    choices = events(sent)
    tokens = [
        one["token"] for choice in choices for one in (choice["logprobs"] or {"content": []})["content"]
    ]
    assert tokens == [str(number) for number in range(len(CALL))]
    assert choices[-1]["finish_reason"] == "tool_calls"
    assert {choice["finish_reason"] for choice in choices[:-1]} == {None}
    scores = [Score(number, -1.0, []) for number in range(len(CALL))]
    (whole,) = json.loads(answer().whole([Piece(0, CALL, "stop", scores)], Usage()))["choices"]
    assert [one["token"] for one in whole["logprobs"]["content"]] == tokens
    assert whole["finish_reason"] == "tool_calls"


def test_choices_are_read_apart():
    streamed = answer()
    sent = (
        streamed.delta(Piece(0, CALL[:20]))
        + streamed.delta(Piece(1, "Hi "))
        + streamed.delta(Piece(0, CALL[20:]))
    )
    sent += streamed.ending(Piece(1, finish="length")) + streamed.ending(Piece(0, finish="stop"))
    finishes = {choice["index"]: choice["finish_reason"] for choice in events(sent)}
    assert finishes == {0: "tool_calls", 1: "length"}
    texts = [choice["delta"].get("content", "") for choice in events(sent) if choice["index"] == 1]
    assert "".join(texts) == "Hi "


def test_what_waits_makes_no_event():
    assert answer().delta(Piece(0, "<tool")) == b""
