# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from llm_ensemble.errors import RequestError
from llm_ensemble.messages import parse_messages


def problem(text):
    with pytest.raises(RequestError) as caught:
        parse_messages(text)
    assert caught.value.field == "messages"
    message = str(caught.value)
    assert message.startswith("messages: ")
    assert "\n" not in message
    return message.removeprefix("messages: ")


def test_a_conversation_is_taken_as_it_is():
    conversation = [
        {"role": "user", "content": 'a "quoted" <b>\n日本 😀'},
        {"content": "", "role": "assistant"},
    ]
    assert parse_messages(json.dumps(conversation)) == conversation


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "byte 0"),
        ("hello", "byte 0"),
        ('[{"role": "user", "content": "hi"},]', "byte 35"),
        ('[{"role": "user"', "byte 16"),
        ('[{"role": "user", "content": "日"}] x', "byte 38"),
        ('["\\ud800"]', "byte 10"),
        ("[NaN]", "byte 1"),
    ],
)
def test_what_is_not_json_is_refused_with_the_place(text, where):
    message = problem(text)
    assert message.startswith("not JSON: ")
    assert where in message
    assert 'send an array of {"role": "...", "content": "..."}' in message


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"role": "user", "content": "hi"}', "an object"),
        ('"hi"', "a string"),
        ("5", "a number"),
        ("0.5", "a number"),
        ("true", "a boolean"),
        ("null", "null"),
    ],
)
def test_what_is_no_array_is_refused_with_what_it_is(text, kind):
    assert problem(text) == f'got {kind}, must be an array of {{"role": "...", "content": "..."}}'


def test_an_empty_array_is_refused():
    assert problem("[]") == "got an empty array, must have at least one message"


def test_a_thousand_arrays_in_one_another_are_refused():
    assert problem("[" * 100_000).startswith("nested too deeply")


GOOD = '{"role": "user", "content": "hi"}'


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ('"hi"', "item 1 is a string, must be an object with role and content"),
        ("[]", "item 1 is an array, must be an object with role and content"),
        ('{"role": "user"}', "item 1 has no content; a message has role and content"),
        ('{"content": "hi"}', "item 1 has no role; a message has role and content"),
        ("{}", "item 1 has no role; a message has role and content"),
        (
            '{"role": "user", "contnet": "hi"}',
            "item 1 has the unknown key 'contnet'; did you mean content?",
        ),
        (
            '{"role": "user", "content": "hi", "tool_calls": []}',
            "item 1 has the unknown key 'tool_calls'; a message has role and content",
        ),
        ('{"role": 5, "content": "hi"}', "item 1: role is a number, must be a string"),
        ('{"role": "user", "content": null}', "item 1: content is null, must be a string"),
        (
            '{"role": "user", "content": [{"type": "text", "text": "hi"}]}',
            "item 1: content is an array, must be a string",
        ),
    ],
)
def test_an_item_that_is_no_message_is_refused_with_its_number(item, message):
    assert problem(f"[{GOOD}, {item}]") == message


def test_a_key_as_long_as_a_book_is_not_repeated_whole():
    assert len(problem(json.dumps([{"x" * 10_000: 1}]))) < 200
