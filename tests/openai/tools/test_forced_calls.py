# SPDX-License-Identifier: Apache-2.0
"""tool_choice required and named, with the demo model, whose text is a call only because of a guide."""

import json

import jsonschema_rs
import openai
import pytest

from llm_ensemble.contract.tools import Tools
from llm_ensemble.engines.openvino.kind import KIND
from tests.openai.tools.scripted import CITY, TIME, WEATHER, asked, calls_of, served, streamed
from tests.openai.tools.templates import HERMES
from tests.server.conftest import with_chat_template

LACKS = "guide json_schema" in KIND.lacks.get("", {})
SIZE = {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "required": ["n"]}
SIZED = {
    "type": "function",
    "function": {"name": "size", "parameters": {**SIZE, "$defs": {"n": {"enum": [1, 2, "many"]}}}},
}
TOOLS = [SIZED, TIME]


@pytest.fixture(scope="module")
def frontend(demo_engine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("forced")
    with served(with_chat_template(demo_engine, folder / "engine", HERMES), folder) as frontend:
        yield frontend


@pytest.fixture
def client(frontend):
    return frontend.openai()


def schema_of(name):
    return {"size": SIZED["function"]["parameters"], "get_time": {"maxProperties": 0}}[name]


@pytest.mark.skipif(not LACKS, reason="the engine has guides")
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_time"}}])
def test_an_engine_without_guides_refuses_tool_choice(client, choice):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**asked("x", tools=TOOLS, tool_choice=choice, max_tokens=5))
    assert caught.value.param == "tool_choice"


@pytest.mark.skipif(LACKS, reason="the engine has no guides yet")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["size", "get_time", ""])
def test_a_forced_call_is_valid_whatever_the_model_wants(client, name, seed):
    choice = {"type": "function", "function": {"name": name}} if name else "required"
    fields = asked(
        "x",
        tools=TOOLS,
        tool_choice=choice,
        seed=seed,
        parallel_tool_calls=False,
        max_tokens=128,
        temperature=2,
    )
    (answer,) = client.chat.completions.create(**fields).choices
    assert (answer.finish_reason, answer.message.content) == ("tool_calls", None)
    ((called, arguments),) = calls_of(answer.message.tool_calls)
    assert called in ([name] if name else ["size", "get_time"])
    jsonschema_rs.validate(schema_of(called), json.loads(arguments))
    sent, finish = streamed(client, **fields)
    assert (sent["content"], calls_of(sent["tool_calls"]), finish) == (
        "",
        [(called, arguments)],
        "tool_calls",
    )


@pytest.mark.skipif(LACKS, reason="the engine has no guides yet")
def test_a_forced_call_that_is_cut_off_says_length(client):
    fields = asked("x", tools=[WEATHER], tool_choice="required", max_tokens=20, temperature=0)
    (answer,) = client.chat.completions.create(**fields).choices
    assert answer.finish_reason == "length"
    assert CITY


@pytest.mark.parametrize("tool_choice", ["auto", "none"])
def test_a_model_that_calls_nothing_answers_in_text(client, tool_choice):
    fields = asked("x", tools=TOOLS, tool_choice=tool_choice, max_tokens=20, temperature=0)
    (answer,) = client.chat.completions.create(**fields).choices
    assert answer.message.content
    assert answer.message.tool_calls is None
    assert streamed(client, **fields)[0]["content"] == answer.message.content


def test_the_schema_is_one_that_validators_take():
    from llm_ensemble.contract.guides.tool_guide import calls_schema

    schema = calls_schema(Tools(TOOLS, "required"))
    assert jsonschema_rs.is_valid(schema, [{"name": "size", "arguments": {"n": "many"}}])
    assert not jsonschema_rs.is_valid(schema, [{"name": "size", "arguments": {"n": 3}}])
