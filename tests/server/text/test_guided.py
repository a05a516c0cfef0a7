# SPDX-License-Identifier: Apache-2.0
"""Guided texts over HTTP, and the errors of guides."""

import json

import pytest

from serving.tritonserver import free_ports, running
from tests.asking import generate, generate_stream, refusal

SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}, "n": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["ok", "n"],
}
# Compiled at once; then each token takes long, which only a trial can tell.
AMBIGUOUS = "root ::= e\ne ::= e e e | e e | [a-z ]"
HOT = {"temperature": 1.5, "max_tokens": 120}


def guide(kind, text=""):
    text = text if isinstance(text, str) else json.dumps(text)
    fields = {"guided_decoding_guide_type": kind, "guided_decoding_guide": text}
    return {name: value for name, value in fields.items() if value}


def test_a_text_keeps_to_its_schema_whole_and_streamed(server):
    whole = json.loads(generate(server, "To change", **HOT, **guide("json_schema", SCHEMA))["text_output"])
    events = generate_stream(server, "To change", **HOT, **guide("json_schema", SCHEMA))
    for value in (whole, json.loads("".join(event["text_output"] for event in events))):
        assert set(value) == {"ok", "n"}
        assert 1 <= value["n"] <= 9
    assert events[-1]["finish_reason"] == "stop"


def test_a_stop_word_cuts_a_guided_text(server):
    answer = generate(server, "To change", **HOT, stop_words=["b"], **guide("regex", "a{3}bc"))
    assert (answer["text_output"], answer["finish_reason"]) == ("aaa", "stop")


def test_a_cut_text_says_length(server):
    answer = generate(server, "To change", **{**HOT, "max_tokens": 3}, **guide("regex", "[ab]{60}"))
    assert answer["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            guide("json_schema", {"properties": {"a": {"not": {}}}}),
            "guided_decoding_guide: /properties/a/not: is not",
        ),
        (guide("regex", "a(?!b)"), "guided_decoding_guide: assert not is not supported (position 1"),
        (guide("ebnf_grammar", "root ::= x"), "guided_decoding_guide: line 1: rule root names x"),
        ({**guide("json"), "min_tokens": 5}, "min_tokens: a guide says itself"),
        ({**guide("json"), "ignore_eos": True}, "ignore_eos: a guided text ends"),
        (
            {**guide("json"), "num_return_sequences": 2},
            "num_return_sequences: the openvino engine guides one",
        ),
    ],
)
def test_a_guide_is_refused_by_name(server, fields, message):
    status, error = refusal(server, {"text_input": "To change", **HOT, **fields})
    assert status == 400
    assert message in error


def test_a_guide_that_is_refused_late_leaves_nothing_in_flight(demo_engine, tmp_path):
    log = tmp_path / "log"
    with log.open("wb") as file, running(demo_engine, free_ports(), file) as server:
        server.wait_ready()
        fields = {"text_input": "To change", **HOT, "stream": False}
        for number in range(3):  # each is tried anew
            asked = {**fields, **guide("ebnf_grammar", AMBIGUOUS + " " * number)}
            status, error = refusal(server, asked, "generate_stream")
            assert (status, "guided_decoding_guide: takes" in error) == (400, True), error
        assert server.stop() == 0, log.read_text()[-3000:]
