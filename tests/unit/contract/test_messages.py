# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from llm_ensemble.contract.messages import parse_messages
from llm_ensemble.errors import RequestError


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
PART = '{"type": "text", "text": "..."}'
PARTS = f"an array of {PART}"


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
        ('{"role": "user", "contnet": null}', "item 1 has the unknown key 'contnet'; did you mean content?"),
        ('{"role": 5, "content": "hi"}', "item 1: role is a number, must be a string"),
        ('{"role": null, "content": "hi"}', "item 1: role is null, must be a string"),
        ('{"role": "user", "name": 5, "content": "hi"}', "item 1: name is a number, must be a string"),
        ('{"role": "user", "content": null}', f"item 1: content is null, must be a string or {PARTS}"),
        ('{"role": "user", "content": {}}', f"item 1: content is an object, must be a string or {PARTS}"),
        (
            '{"role": "user", "content": []}',
            f"item 1: content is an empty array, must have at least one {PART}",
        ),
    ],
)
def test_an_item_that_is_no_message_is_refused_with_its_number(item, message):
    assert problem(f"[{GOOD}, {item}]") == message


@pytest.mark.parametrize("key", ["tool_calls", "function_call"])
def test_a_function_call_is_refused_by_name_and_an_empty_key_for_it_is_left_out(key):
    message = {"role": "assistant", "content": None, "function_call": {"name": "f"}}
    assert problem(json.dumps([message])) == (
        "item 0 has function_call; send tool_calls, which took its place"
    )
    for nothing in (None, []):
        message = {"role": "assistant", "content": "hi", key: nothing}
        assert parse_messages(json.dumps([message])) == [{"role": "assistant", "content": "hi"}]


def test_other_keys_are_kept_and_null_ones_are_left_out():
    message = {"role": "assistant", "content": "hi", "name": "Ann", "reasoning_content": "so", "id": [1]}
    assert parse_messages(json.dumps([message | {"refusal": None, "audio": None}])) == [message]


def test_content_may_be_parts_of_text():
    message = {"role": "user", "content": [{"type": "text", "text": "a"}, {"text": "", "type": "text"}]}
    assert parse_messages(json.dumps([message])) == [message]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ('"hi"', f"is a string, must be {PART}"),
        ("null", f"is null, must be {PART}"),
        ('{"text": "hi"}', f"has no type, must be {PART}"),
        ('{"type": 5, "text": "hi"}', f"has no type, must be {PART}"),
        ('{"type": "text"}', f"has no text, must be {PART}"),
        ('{"type": "text", "text": 5}', f"has no text, must be {PART}"),
        (
            '{"type": "text", "text": "hi", "cache_control": {}}',
            "has the unknown key 'cache_control'; leave it out",
        ),
        *(
            (f'{{"type": "{kind}"}}', f"has type '{kind}'; this server takes text alone, as {PART}")
            for kind in (
                *("image", "image_url", "input_image", "audio", "input_audio", "audio_url"),
                *("video", "video_url", "file"),
            )
        ),
    ],
)
def test_a_part_that_is_no_text_is_refused_with_its_number(part, message):
    content = f'[{{"type": "text", "text": "hi"}}, {part}]'
    assert problem(f'[{GOOD}, {{"role": "user", "content": {content}}}]') == f"item 1: part 1 {message}"


def test_a_key_as_long_as_a_book_is_not_repeated_whole():
    assert len(problem(json.dumps([{"x" * 10_000: 1}]))) < 200
