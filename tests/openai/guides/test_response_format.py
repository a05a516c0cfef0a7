# SPDX-License-Identifier: Apache-2.0
"""response_format and vLLM's fields for the same: texts that match, by OpenAI's client unmodified."""

import enum
import json
import re

import openai
import pydantic
import pytest

from tests.openai.frontend import MESSAGES, MODEL

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "integer", "minimum": 0, "maximum": 99}, "sure": {"type": "boolean"}},
    "required": ["answer", "sure"],
    "additionalProperties": False,
}
CODE = "[A-F]{3}-[0-9]{2}"
GRAMMAR = 'root ::= "left" | "right"'
CHOICES = ["left", 'a "right"', "größer"]


def of_schema(schema=SCHEMA, **more):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, **more}}


def is_answer(text):
    answer = json.loads(text)
    return [*answer] == ["answer", "sure"] and 0 <= answer["answer"] <= 99 and type(answer["sure"]) is bool


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Part(pydantic.BaseModel):
    colour: Colour
    size: int = pydantic.Field(ge=0, le=9)


class Thing(pydantic.BaseModel):
    """Of all that pydantic writes of such classes: $defs, enum, anyOf with null, additionalProperties."""

    part: Part
    spare: Part | None
    is_old: bool


MATCHING = [
    ({"response_format": of_schema(strict=True)}, is_answer),
    ({"response_format": of_schema(strict=False, description="An answer")}, is_answer),
    ({"structured_outputs": {"json": SCHEMA}}, is_answer),
    ({"structured_outputs": {"json": json.dumps(SCHEMA), "regex": None}}, is_answer),
    ({"structured_outputs": {"regex": CODE}}, re.compile(CODE).fullmatch),
    ({"structured_outputs": {"choice": CHOICES}}, CHOICES.__contains__),
    ({"structured_outputs": {"grammar": GRAMMAR}}, ("left", "right").__contains__),
    ({"guided_json": SCHEMA}, is_answer),
    ({"guided_regex": CODE}, re.compile(CODE).fullmatch),
    ({"guided_choice": CHOICES}, CHOICES.__contains__),
    ({"guided_grammar": GRAMMAR}, ("left", "right").__contains__),
]


@pytest.mark.parametrize(("fields", "matches"), MATCHING)
def test_a_chat_s_answer_matches(guided, fields, matches):
    for seed in range(2):
        answer = guided.chat(**fields, seed=seed, max_tokens=100)
        assert answer.status == 200, answer.body
        (choice,) = answer.content["choices"]
        assert choice["finish_reason"] == "stop"
        assert matches(choice["message"]["content"]), choice


@pytest.mark.parametrize(("fields", "matches"), MATCHING[3:6])
def test_a_completion_s_text_matches(guided, fields, matches):
    answer = guided.complete(**fields, seed=5, max_tokens=100)
    assert answer.status == 200, answer.body
    assert matches(answer.content["choices"][0]["text"])


@pytest.mark.parametrize(
    "fields", [{"response_format": {"type": "json_object"}}, {"structured_outputs": {"json_object": True}}]
)
def test_any_json_is_an_object(guided, fields):
    (choice,) = guided.chat(**fields, seed=1, max_tokens=200).content["choices"]
    text = choice["message"]["content"]
    assert text.lstrip().startswith("{")
    assert choice["finish_reason"] == "length" or isinstance(json.loads(text), dict)


def test_openais_client_parses_a_pydantic_model(guided):
    asked = {"model": MODEL, "messages": MESSAGES, "seed": 3, "max_tokens": 200, "response_format": Thing}
    parsed = guided.openai().chat.completions.parse(**asked).choices[0].message.parsed
    assert isinstance(parsed, Thing)
    with guided.openai().chat.completions.stream(**asked) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.parsed == parsed


def test_a_limit_that_ends_the_text_is_the_finish_reason(guided):
    answer = guided.chat(response_format=of_schema(), max_tokens=2)
    assert answer.content["choices"][0]["finish_reason"] == "length"
    with pytest.raises(openai.LengthFinishReasonError):
        guided.openai().chat.completions.parse(
            model=MODEL, messages=MESSAGES, max_tokens=2, response_format=Thing
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("response_format", of_schema({"type": "strin"})),
        ("structured_outputs", {"regex": "(a"}),
        ("guided_grammar", "root ::= other"),
        ("guided_json", "{"),
    ],
)
def test_a_guide_that_cannot_be_obeyed_is_the_fault_of_the_field_that_has_it(guided, name, value):
    for stream in (False, True):
        answer = guided.chat(**{name: value}, stream=stream)
        assert (answer.status, answer.error["param"]) == (400, name), answer.body
        assert answer.error["message"].startswith(f"{name}: ")


# The following need no engine with guides.


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("response_format", "json_object", "got .*must be an object with a type"),
        ("response_format", {"type": "xml"}, "text, json_object, json_schema"),
        ("response_format", {"type": "json_schema"}, "check json_schema"),
        ("response_format", {"type": "json_object", "schema": {}}, "check schema"),
        ("response_format", {"type": "json_schema", "json_schema": SCHEMA}, "a schema, which is an object"),
        ("response_format", {"type": "json_schema", "json_schema": {"schema": SCHEMA}}, "name is missing"),
        ("response_format", of_schema(strict=1), "strict must be true or false"),
        ("response_format", of_schema(strikt=True), "not strikt"),
        ("structured_outputs", {}, "one of json, regex, choice, grammar, json_object"),
        ("structured_outputs", {"json": {}, "regex": "a"}, "one of json"),
        ("structured_outputs", {"whitespace_pattern": " "}, "one of json"),
        ("structured_outputs", {"json_object": False}, "json_object must be true"),
        ("structured_outputs", {"choice": []}, "array of strings"),
        ("guided_choice", "left", "array of strings"),
        ("guided_regex", ["a"], "must be a string"),
        ("guided_grammar", "", "must be a string"),
        ("guided_json", 5, "must be a JSON schema"),
    ],
)
def test_a_shape_that_is_wrong_is_refused_by_name(frontend, field, value, says):
    answer = frontend.chat(**{field: value})
    assert (answer.status, answer.error["param"]) == (400, field)
    assert re.match(f"{field}: .*{says}", answer.error["message"])


def test_one_of_the_fields_is_sent(frontend):
    answer = frontend.chat(response_format={"type": "json_object"}, guided_regex="a")
    assert answer.error["message"] == "guided_regex: does not go with response_format; send one of them"


@pytest.mark.parametrize("call", ["chat", "complete"])
def test_what_asks_for_nothing_changes_nothing(frontend, call):
    asked = {"max_tokens": 5, "temperature": 0}
    fields = {"response_format": {"type": "text"}, "structured_outputs": None, "guided_json": None}
    plain, same = getattr(frontend, call)(**asked), getattr(frontend, call)(**asked, **fields)
    assert plain.content["choices"] == same.content["choices"]
