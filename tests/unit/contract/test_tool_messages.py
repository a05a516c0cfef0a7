# SPDX-License-Identifier: Apache-2.0
"""Conversations with tool calls and what the tools answered."""

import json

import pytest

from llm_ensemble.contract.messages import parse_messages
from llm_ensemble.errors import RequestError


def called(arguments, **keys):
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call], **keys}


def parsed(*messages):
    return parse_messages(json.dumps([*messages]))


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ('{"b": 1, "a": [2.5, "é"]}', {"b": 1, "a": [2.5, "é"]}),
        ({"b": 1, "a": {"c": None}}, {"b": 1, "a": {"c": None}}),
        ("", {}),
        (None, {}),
        ("{}", {}),
    ],
)
def test_arguments_become_an_object_in_their_order_as_templates_read_them(sent, read):
    (message,) = parsed(called(sent))
    assert message["content"] == ""
    assert json.dumps(message["tool_calls"][0]["function"]["arguments"]) == json.dumps(read)


def test_a_loop_of_calls_and_answers_is_taken_as_it_is():
    answer = {"role": "tool", "tool_call_id": "call_1", "content": "3"}
    messages = [{"role": "user", "content": "1 + 2?"}, called({"a": 1}, content="Let me see."), answer]
    assert parsed(*messages) == messages


def test_beside_calls_content_may_be_missing():
    message = called({})
    del message["content"]
    assert parsed(message)[0]["content"] == ""


CALL = '{"id": "...", "type": "function", "function": {"name": "...", "arguments": "..."}}'


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({**called({}), "tool_calls": {"a": 1}}, f"tool_calls is an object, must be an array of {CALL}"),
        ({**called({}), "tool_calls": ["a"]}, f"tool_calls: item 0 is a string, must be {CALL}"),
        (
            {**called({}), "tool_calls": [{"function": {"arguments": {}}}]},
            "tool_calls: item 0: name is null, must be a string",
        ),
        (
            {**called({}), "tool_calls": [{"id": 5, "function": {"name": "f"}}]},
            "tool_calls: item 0: id is a number, must be a string",
        ),
        (
            {**called({}), "tool_calls": [{"type": "custom", "function": {"name": "f"}}]},
            "tool_calls: item 0: type is 'custom'; only functions are served",
        ),
        (called("[1]"), "tool_calls: item 0: arguments are an array, must be a JSON object"),
        (called(5), "tool_calls: item 0: arguments are a number, must be a JSON object"),
        (called("{1}"), "tool_calls: item 0: arguments are not JSON (JSON is malformed"),
        (called({}, role="user"), "role is 'user', but only an assistant has tool_calls"),
        (called({}, tool_call_id=5), "tool_call_id is a number, must be a string"),
    ],
)
def test_what_is_no_call_is_refused_with_its_place(message, problem):
    with pytest.raises(RequestError) as caught:
        parsed({"role": "user", "content": "hi"}, message)
    assert str(caught.value).startswith(f"messages: item 1: {problem}")
