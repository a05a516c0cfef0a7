# SPDX-License-Identifier: Apache-2.0
"""tools and tool_choice, and the guide that a forced call is."""

import json

import pytest
from jsonschema_rs import is_valid, meta

from llm_ensemble.contract.guide import Guide
from llm_ensemble.contract.guides.tool_guide import calls_schema, guide_of
from llm_ensemble.contract.request_fields import RequestFields
from llm_ensemble.contract.tools import Tools, read_tools
from llm_ensemble.engines.features import refuse_lacking
from llm_ensemble.errors import RequestError

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def tool(name="weather", parameters=CITY, **keys):
    return {"type": "function", "function": {"name": name, "parameters": parameters, **keys}}


def fields(*tools, choice="", **others):
    choice = choice if isinstance(choice, str) else json.dumps(choice)
    others = {"messages": "[]", **others}
    return RequestFields(tools=json.dumps([*tools]), tool_choice=choice, **others)


def problem(asked, read=read_tools):
    with pytest.raises(RequestError) as caught:
        read(asked)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_tools_are_taken_as_they_are_and_no_tools_are_none():
    tools = [tool(description="é"), tool("time", {}, strict=True)]
    assert read_tools(fields(*tools)) == Tools(tools)
    for none in ("", "[]"):
        assert read_tools(RequestFields(tools=none, tool_choice="auto")) is None
        assert read_tools(RequestFields(tools=none, tool_choice="none")) is None


@pytest.mark.parametrize(
    ("choice", "read"),
    [
        ("", ("auto", "")),
        ("auto", ("auto", "")),
        ("none", ("none", "")),
        ("required", ("required", "")),
        ("weather", ("named", "weather")),
        ({"type": "function", "function": {"name": "weather"}}, ("named", "weather")),
    ],
)
def test_a_choice_is_a_word_or_names_a_tool(choice, read):
    tools = read_tools(fields(tool(), choice=choice))
    assert (tools.choice, tools.name) == read
    assert tools.shown == (None if choice == "none" else [tool()])
    assert tools.is_forced == (read[0] in ("required", "named"))


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ("f", "item 1 is a string, must be an object with type and function"),
        ({"function": {"name": "f"}}, "item 1 has no type; only functions are served, with type 'function'"),
        ({"type": "custom", "custom": {}}, "item 1 has type 'custom'; only functions are served"),
        ({"type": "function"}, "item 1: function is null, must be an object with a name"),
        ({"type": "function", "function": {}}, "item 1: function has no name"),
        (tool(""), "item 1: name is '', must be 1 to 64 of letters, digits, and _ . -"),
        (tool(5), "item 1: name is a number, must be"),
        (tool("é"), "item 1: name is 'é', must be"),
        (tool("a" * 65), "item 1: name is "),
        (tool(), "item 1: there is another function 'weather'"),
        (tool("f", "x"), "item 1: parameters is a string, must be a JSON schema"),
        (tool("f", strict=1), "item 1: strict is a number, must be true or false"),
        (tool("f", description=5), "item 1: description is a number, must be a string"),
    ],
)
def test_a_tool_that_is_none_is_refused_with_its_place(item, told):
    assert problem(fields(tool(), item)).startswith(f"tools: {told}")


def test_what_are_no_tools_is_refused():
    for text, told in [
        ("{", "not JSON: "),
        ('{"a": 1}', "got an object, must be an array of "),
        ("[" * 100_000, "nested too deeply"),
        (json.dumps([tool(f"t{n}") for n in range(129)]), "got 129 tools, at most 128 are allowed"),
    ]:
        assert problem(RequestFields(tools=text, messages="[]")).startswith(f"tools: {told}")


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("whether", "there is no tool 'whether'; the tools are weather"),
        ({"type": "function", "function": {"name": "x"}}, "there is no tool 'x'; the tools are weather"),
        ({"type": "allowed_tools"}, "got {"),
        ("{", "not JSON: "),
        ("[]", "got [], must be none, auto, required, or {"),
    ],
)
def test_a_choice_that_is_none_is_refused(choice, told):
    assert problem(fields(tool(), choice=choice)).startswith(f"tool_choice: {told}")


def test_a_choice_needs_tools_and_tools_need_messages():
    for choice in ("required", "weather"):
        told = problem(RequestFields(tool_choice=choice, messages="[]"))
        assert told == "tool_choice: there are no tools; send them with it"
    assert problem(fields(tool(), messages=None, text_input="hi")).startswith("tools: belongs to messages")
    assert problem(fields(tool(), messages=None, input_ids=[1])).endswith("instead of input_ids")


# Guides

TREE = {
    "type": "object",
    "properties": {"root": {"$ref": "#/$defs/node"}, "$ref": {"const": "#/none"}},
    "required": ["root"],
    "$defs": {
        "node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "n": {"type": "number"}}}
    },
}


def call(name="weather", arguments=None):
    return {"name": name, "arguments": {"city": "Rome"} if arguments is None else arguments}


@pytest.mark.parametrize("is_parallel", [True, False])
def test_required_calls_any_tool_once_or_more(is_parallel):
    schema = calls_schema(Tools([tool(), tool("time", {})], "required", is_parallel=is_parallel))
    assert meta.is_valid(schema)
    assert is_valid(schema, [call()])
    assert is_valid(schema, [call("time", {})])
    assert is_valid(schema, [call(), call("time", {}), call()]) == is_parallel
    for wrong in (
        [],
        call(),
        [call("time", {"a": 1})],
        [call("time")],
        [call(arguments={})],
        [call("f", {})],
    ):
        assert not is_valid(schema, wrong)


def test_a_named_tool_is_called_once():
    schema = calls_schema(Tools([tool(), tool("time", {})], "named", "weather"))
    assert is_valid(schema, [call()])
    assert not is_valid(schema, [call(), call()])
    assert not is_valid(schema, [call("time", {})])


def test_a_schema_that_refers_to_itself_does_within_that_of_the_calls():
    schema = calls_schema(Tools([tool("plant", TREE), tool()], "required"))
    deep = {"root": {"next": {"next": {"n": 1}}}}
    assert is_valid(schema, [call("plant", deep), call("plant", {**deep, "$ref": "#/none"})])
    assert not is_valid(schema, [call("plant", {"root": {"next": {"next": {"n": "1"}}}})])
    assert not is_valid(schema, [call("plant", {**deep, "$ref": "#/$defs/plant/none"})])


def test_a_forced_call_is_a_guide_and_a_free_one_is_not():
    guide = guide_of(fields(tool(), choice="required"))
    assert (guide.kind, guide.field) == ("json_schema", "tool_choice")
    assert json.loads(guide.text) == calls_schema(read_tools(fields(tool(), choice="required")))
    assert list(json.loads(guide.text)["items"]["properties"]) == ["name", "arguments"]
    assert guide_of(fields(tool(), choice="auto")) is None
    own = {"guided_decoding_guide_type": "regex", "guided_decoding_guide": "a+"}
    assert guide_of(fields(tool(), choice="auto", **own)) == Guide("regex", "a+")


def test_a_forced_call_with_a_guide_of_its_own_is_refused():
    own = {"guided_decoding_guide_type": "json"}
    told = problem(fields(tool(), choice="required", **own), guide_of)
    assert (
        told
        == "guided_decoding_guide_type: does not go with a tool_choice that forces calls; send one of them"
    )


def test_one_call_at_most_needs_a_guide():
    told = problem(fields(tool(), parallel_tool_calls=False), guide_of)
    assert told.startswith("parallel_tool_calls: false needs tool_choice required")
    assert guide_of(fields(tool(), choice="none", parallel_tool_calls=False)) is None
    assert guide_of(RequestFields(messages="[]", parallel_tool_calls=False)) is None
    assert (
        json.loads(guide_of(fields(tool(), choice="required", parallel_tool_calls=False)).text)["maxItems"]
        == 1
    )


def test_an_engine_without_guides_refuses_tool_choice_by_its_name():
    from llm_ensemble.contract.sampling import Sampling

    sampling = Sampling(max_tokens=1, guide=guide_of(fields(tool(), choice="required")))
    with pytest.raises(RequestError, match="^tool_choice: not here$"):
        refuse_lacking(sampling, {"guide json_schema": "not here"})
