# SPDX-License-Identifier: Apache-2.0
"""Tool calls in the formats of models."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_frontend.parsers.delta import ARGUMENTS, CALL, CONTENT
from openai_frontend.parsers.formats import FORMATS, format_of
from tests.unit.parsers.reading import ALL, NAMES, calls_of, cut, of_format, read

ROME = '{"city": "Rome }]\\" <tool_call>", "days": [1, {"a": {}}]}'
ONE = [("get_weather", ROME)]
TWO = [*ONE, ("add", "{}")]
HERMES = '<tool_call>\n{"name": "get_weather", "arguments": ' + ROME + "}\n</tool_call>"
HERMES_TWO = HERMES + '\n<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>'
LLAMA = '{"name": "get_weather", "parameters": ' + ROME + "}"
ARRAY = (
    '[{"name": "get_weather", "arguments": '
    + ROME
    + '}, {"name": "add", "arguments": {}, "id": "a1B2c3D4e"}]'
)
NAMED = "[TOOL_CALLS]get_weather[ARGS]" + ROME + "[TOOL_CALLS]add[CALL_ID]a1B2c3D4e[ARGS]{}"

GOOD = [
    ("hermes", HERMES, None, ONE),
    ("hermes", HERMES_TWO, None, TWO),
    ("hermes", f"I look.\n{HERMES_TWO}\n", "I look.", TWO),
    ("hermes", f"a < b <tool {HERMES} and\n", "a < b <tool  and\n", ONE),
    ("hermes", '<tool_call>{"arguments": {"a": 1}, "name": "add"}</tool_call>', None, [("add", '{"a": 1}')]),
    (
        "hermes",
        '<tool_call>{"arguments": {"a": "' + "x" * 9000 + '"}, "name": "add"}</tool_call>',
        None,
        [("add", '{"a": "' + "x" * 9000 + '"}')],
    ),
    ("hermes", '<tool_call>{"name": "add"}</tool_call>', None, [("add", "{}")]),
    ("hermes", '<tool_call>{"id":"x","name":"\\u0061dd","arguments":{}}', None, [("add", "{}")]),
    ("llama3_json", LLAMA, None, ONE),
    ("llama3_json", f"<|python_tag|>{LLAMA}", None, ONE),
    ("llama3_json", f'{LLAMA}; {{"name": "add", "parameters": {{}}}}', None, TWO),
    ("llama3_json", f"  {LLAMA} \n", None, ONE),
    ("llama3_json", f"So: <|python_tag|>{LLAMA}", "So:", ONE),
    ("mistral", f"[TOOL_CALLS] {ARRAY}", None, TWO),
    ("mistral", f"[TOOL_CALLS]{ARRAY}", None, TWO),
    ("mistral", NAMED, None, TWO),
    ("mistral", f"Let me see. {NAMED}", "Let me see.", TWO),
    ("mistral", '[TOOL_CALLS]add.more{"a": 1}', None, [("add.more", '{"a": 1}')]),
    ("mistral", '[TOOL_CALLS] {"name": "add", "arguments": {}}', None, [("add", "{}")]),
    ("forced", ARRAY, None, TWO),
    ("forced", "[\n" + ARRAY[1:-1] + " ]\n", None, TWO),
]
# The text, what of it is content, and the calls before it went wrong.
BAD = [
    ("hermes", '<tool_call>{"name": "other", "arguments": {}}</tool_call>'),
    ("hermes", '<tool_call>{"name": "add", "arguments": "{}"}</tool_call>'),
    ("hermes", '<tool_call>{"name": "add", "arguments": [1]}</tool_call>'),
    ("hermes", '<tool_call>{"name": 5}</tool_call>'),
    ("hermes", '<tool_call>{"name": "\\x"}</tool_call>'),
    ("hermes", '<tool_call>{"arguments": {}}</tool_call>'),
    ("hermes", "<tool_call>add(1)</tool_call>"),
    ("hermes", "<tool_call>"),
    ("hermes", '<tool_call>{"na'),
    ("hermes", '<tool_call>{"id": "' + "x" * 66_000 + '", "name": "add", "arguments": {}}</tool_call>'),
    ("hermes", LLAMA),
    ("llama3_json", '{"answer": 5}'),
    ("llama3_json", '{"name": "Ann"}'),
    ("llama3_json", f"The call is {LLAMA}"),
    ("llama3_json", "<|python_tag|>print(5)"),
    ("mistral", "[TOOL_CALLS] [5]"),
    ("mistral", "[TOOL_CALLS]other[ARGS]{}"),
    ("mistral", "[TOOL_CALLS]add" + " " * 300 + "{}"),
    ("mistral", "[TOOL_CALLS]add[ARGS]5"),
    ("mistral", ARRAY),
    ("forced", '{"name": "add", "arguments": {}'[:-2]),
    ("forced", "[ 5 ]"),
]


@pytest.mark.parametrize(("form", "text", "content", "calls"), GOOD)
def test_calls_are_found_whole_and_in_single_characters(form, text, content, calls):
    for pieces in ([text], text):
        whole = read(of_format(form), *pieces)
        assert (whole["content"], calls_of(whole)) == (content, calls)


@pytest.mark.parametrize(("form", "text"), BAD)
def test_what_is_no_call_is_text(form, text):
    for pieces in ([text], text, [f" {text}\n"]):
        assert read(of_format(form), *pieces) == {
            "role": "assistant",
            "content": "".join(pieces),
            "refusal": None,
        }


def test_a_call_behind_one_that_is_none_is_found():
    text = f'<tool_call>{{"nome": <tool_call>{HERMES}'
    assert read(of_format("hermes"), text)["content"] == '<tool_call>{"nome": <tool_call>'
    assert calls_of(read(of_format("hermes"), text)) == ONE


@pytest.mark.parametrize("end", range(1, len(LLAMA)))
def test_arguments_that_end_too_early_are_passed_on_as_they_are(end):
    whole = read(of_format("llama3_json"), LLAMA[:end])
    begins = LLAMA.index(ROME)
    if end <= begins:
        assert (whole["content"], calls_of(whole)) == (LLAMA[:end], [])
    else:
        assert (whole["content"], calls_of(whole)) == (None, [("get_weather", ROME[: end - begins])])


def test_arguments_that_are_no_json_are_passed_on_as_they_are():
    text = '<tool_call>{"name": "add", "arguments": {"a": oops}}</tool_call>'
    assert calls_of(read(of_format("hermes"), text)) == [("add", '{"a": oops}')]


def test_a_stream_has_the_name_first_and_pieces_of_the_arguments_as_they_come():
    parser = of_format("hermes")()
    events = [[(one.kind, one.text, one.number) for one in parser.feed(piece)] for piece in HERMES_TWO]
    deltas = [delta for event in events for delta in event]
    assert deltas[0] == (CALL, "get_weather", 0)
    assert deltas[1 : 1 + len(ROME)] == [(ARGUMENTS, character, 0) for character in ROME]
    assert deltas[1 + len(ROME) :] == [(CALL, "add", 1), (ARGUMENTS, "{", 1), (ARGUMENTS, "}", 1)]
    assert parser.flush() == []
    # Nothing that is certain waits: the name comes with the character in which the arguments begin.
    assert events[HERMES_TWO.index(ROME)] == [(CALL, "get_weather", 0), (ARGUMENTS, "{", 0)]


def test_text_is_held_back_no_longer_than_it_may_be_a_call():
    parser = of_format("hermes")()
    assert [one.text for one in parser.feed("So <b")] == ["So <b"]
    assert [one.text for one in parser.feed(" <tool")] == []
    assert [one.text for one in parser.feed("s>")] == [" <tools>"]


def test_without_parallel_calls_there_is_one():
    for form, text, content, calls in GOOD:
        for pieces in ([text], text):
            whole = read(of_format(form, is_parallel=False), *pieces)
            assert (whole["content"], calls_of(whole)) == (content, calls[:1])


def test_ids_are_unique_and_of_nine_letters_and_digits_where_the_template_wants_that():
    ids = {
        form: [
            delta.call_id for _ in range(20) for delta in of_format(form)().feed(text) if delta.kind == CALL
        ]
        for form, text in (("hermes", HERMES_TWO), ("mistral", NAMED))
    }
    assert all(len(set(found)) == 40 for found in ids.values())
    assert all(one.startswith("call_") for one in ids["hermes"])
    assert all(len(one) == 9 and one.isalnum() for one in ids["mistral"])


# Any text, in any pieces

FRAGMENTS = st.sampled_from(
    [
        *(
            "<tool_call>",
            "</tool_call>",
            "[TOOL_CALLS]",
            "[ARGS]",
            "[CALL_ID]",
            "<|python_tag|>",
            "<",
            "[",
            "{",
            "}",
        ),
        *(
            "]",
            ",",
            ";",
            ":",
            '"',
            "\\",
            '"name"',
            '"arguments"',
            '"parameters"',
            '"id"',
            " ",
            "\n",
            "{}",
            "é",
            "x",
        ),
        *NAMES,
        *(f'{{"name": "{name}", "arguments": ' for name in NAMES),
        *(
            "<tool_call>\n" + '{"name": "add", "arguments": {"a": 1}}',
            "}\n</tool_call>",
            ROME,
            LLAMA,
            HERMES,
            NAMED,
        ),
        *(
            "[TOOL_CALLS] [" + '{"name": "add", "arguments": ',
            '"arguments": {"a": 1}',
            '"name": "add"',
            "\u2003",
        ),
    ]
)
TEXTS = st.lists(FRAGMENTS, max_size=12).map("".join)
PLACES = st.lists(st.integers(0, 10_000), max_size=12)
NO_CALLS = st.text(st.characters(exclude_characters="{", exclude_categories=["Cs"]))


@given(st.sampled_from([*ALL]), TEXTS, PLACES, st.booleans())
def test_pieces_add_up_to_the_whole(form, text, places, is_parallel):
    make = of_format(form, is_parallel=is_parallel)
    assert read(make, *cut(text, places)) == read(make, text)


@given(st.sampled_from([*ALL]), TEXTS)
def test_without_a_call_the_content_is_the_text_and_with_one_its_parts_are(form, text):
    parser = of_format(form)()
    deltas = [*parser.feed(text), *parser.flush()]
    if not parser.has_calls:
        assert "".join(delta.text for delta in deltas) == text
        assert all(delta.kind == CONTENT for delta in deltas)
    at = 0
    for delta in deltas:  # each is a part of the text, in its order; but arguments may come before the name
        if delta.kind == CONTENT:
            content = delta.text.strip()  # space from in front of a call comes behind it
            at = text.index(content, at) + len(content)
        elif delta.kind == ARGUMENTS and delta.text != "{}":
            assert delta.text in text


@given(st.sampled_from([*ALL]), NO_CALLS, PLACES)
def test_a_text_without_an_object_is_content(form, text, places):
    assert read(of_format(form), *cut(text, places))["content"] == text


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3),
    max_leaves=8,
)
CALLS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.dictionaries(st.text(), VALUES, max_size=4)), min_size=1
)
WRITERS = {
    "hermes": lambda calls: "\n".join(
        "<tool_call>\n" + json.dumps({"name": name, "arguments": given}) + "\n</tool_call>"
        for name, given in calls
    ),
    "llama3_json": lambda calls: "; ".join(
        json.dumps({"name": name, "parameters": given}, ensure_ascii=False) for name, given in calls
    ),
    "mistral": lambda calls: "".join(f"[TOOL_CALLS]{name}[ARGS]{json.dumps(given)}" for name, given in calls),
    "forced": lambda calls: json.dumps(
        [{"name": name, "arguments": given} for name, given in calls], indent=1
    ),
}


@given(st.sampled_from([*WRITERS]), CALLS, PLACES)
def test_calls_with_any_arguments_are_read_as_they_were_written(form, calls, places):
    text = WRITERS[form](calls)
    whole = read(of_format(form), *cut(text, places))
    assert whole["content"] is None
    assert [(name, json.loads(given)) for name, given in calls_of(whole)] == calls


# The choice of a format

TAUGHT = [
    ("{% for tool in tools %}<tool_call></tool_call>", "hermes"),
    ("{{ '[TOOL_CALLS]' }}", "mistral"),
    ("<|eot_id|> {'name': f, \"parameters\": p}", "llama3_json"),
    ("<|python_tag|>", "llama3_json"),
    ("<tool_call>\n<function=f>", None),
    ("{{ messages }}", None),
]


@pytest.mark.parametrize(("template", "name"), TAUGHT)
def test_the_format_is_what_the_template_teaches(template, name):
    assert format_of(template) == name
    assert name is None or name in FORMATS
