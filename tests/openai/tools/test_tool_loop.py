# SPDX-License-Identifier: Apache-2.0
"""OpenAI's own client calls tools: real server, real frontend, scripted texts."""

import json

import openai
import pytest
from pydantic import BaseModel

from tests.openai.tools.scripted import CITY, ROME, TOOLS, asked, calls_of, scripted, streamed
from tests.openai.tools.templates import HERMES

CALL = '<tool_call>\n{"name": "get_weather", "arguments": ' + ROME + "}\n</tool_call>"
TIME = '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>'
FORCED = '[{"name": "get_weather", "arguments": ' + ROME + "}]"
SCRIPT = {
    "one": CALL,
    "both": f"Let me see.\n{CALL}\n{TIME}",
    "broken": '<tool_call>\n{"name": "get_weather", "arguments": oops}\n</tool_call> ',
    "unknown": '<tool_call>{"name": "launch", "arguments": {}}</tool_call>',
    "thought": f"<think>\nI call {TIME}\n</think>\n\n{CALL}",
    "wise": "<think>\nso\n</think>\n\nYes.",
    "plain": "No tool is needed.",
    "forced": FORCED,
    "double": FORCED[:-1] + ', {"name": "get_time", "arguments": {}}]',
    "sunny": "It is sunny in Röme.",
}


@pytest.fixture(scope="module")
def scripted_frontend(demo_engine, tmp_path_factory):
    with scripted(demo_engine, tmp_path_factory.mktemp("loop"), HERMES, SCRIPT) as frontend:
        yield frontend


@pytest.fixture
def client(scripted_frontend):
    return scripted_frontend.openai()


def whole(client, **fields):
    (choice,) = client.chat.completions.create(**fields).choices
    return choice.message, choice.finish_reason


CASES = {
    "one": (None, "", [("get_weather", ROME)], "tool_calls"),
    "both": ("Let me see.", "", [("get_weather", ROME), ("get_time", "{}")], "tool_calls"),
    "broken": (SCRIPT["broken"], "", [], "stop"),
    "unknown": (SCRIPT["unknown"], "", [], "stop"),
    "thought": (None, f"\nI call {TIME}\n", [("get_weather", ROME)], "tool_calls"),
    "wise": ("\n\nYes.", "\nso\n", [], "stop"),
    "plain": (SCRIPT["plain"], "", [], "stop"),
}


@pytest.mark.parametrize("word", CASES)
def test_an_answer_is_read_the_same_streamed_and_not(client, scripted_frontend, word):
    content, reasoning, calls, finish = CASES[word]
    message, reason = whole(client, **asked(word))
    assert (message.content, calls_of(message.tool_calls), reason) == (content, calls, finish)
    assert getattr(message, "reasoning_content", "") == reasoning
    sent, reason = streamed(client, **asked(word))
    assert (sent["content"], calls_of(sent["tool_calls"]), reason) == (content or "", calls, finish)
    assert (sent["reasoning_content"], sent["role"]) == (reasoning, "assistant")
    # The ensemble itself gives the text as it is.
    fields = {"messages": asked(word)["messages"], "tools": TOOLS, "max_tokens": -1}
    assert scripted_frontend.ensemble().generate(**fields).text == SCRIPT[word]


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_loop_of_call_result_and_answer(client, is_streamed):
    fields = asked("one")
    messages = fields["messages"]
    if is_streamed:
        sent, _ = streamed(client, **fields)
        calls = [{key: call[key] for key in ("id", "type", "function")} for call in sent["tool_calls"]]
        messages.append({"role": "assistant", "content": None, "tool_calls": calls})
    else:
        message, _ = whole(client, **fields)
        calls = [call.model_dump() for call in message.tool_calls]
        messages.append(message)  # as OpenAI's examples do
    assert all(call["id"].startswith("call_") for call in calls)
    assert json.loads(calls[0]["function"]["arguments"]) == json.loads(ROME)
    messages.append({"role": "tool", "tool_call_id": calls[0]["id"], "content": "It is sunny"[6:]})
    if is_streamed:
        sent, finish = streamed(client, **fields)
        assert (sent["content"], sent["tool_calls"], finish) == (SCRIPT["sunny"], [], "stop")
    else:
        message, finish = whole(client, **fields)
        assert (message.content, message.tool_calls, finish) == (SCRIPT["sunny"], None, "stop")


def test_reasoning_that_is_sent_back_is_taken(client):
    fields = asked("wise")
    message, _ = whole(client, **fields)
    fields["messages"] += [message, {"role": "user", "content": "Say plain"}]
    assert whole(client, **fields)[0].content == SCRIPT["plain"]


def test_the_stream_helper_of_openais_client_has_its_events(client):
    class get_weather(BaseModel):  # noqa: N801
        city: str

    tool = openai.pydantic_function_tool(get_weather)
    assert tool["function"]["strict"] is True
    with client.chat.completions.stream(**asked("one", tools=[tool])) as stream:
        events = [*stream]
        final = stream.get_final_completion()
    deltas = [event for event in events if event.type == "tool_calls.function.arguments.delta"]
    assert "".join(event.arguments_delta for event in deltas) == ROME
    assert len(deltas) > 5
    (done,) = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert (done.name, done.arguments) == ("get_weather", ROME)
    (call,) = final.choices[0].message.tool_calls
    assert call.function.parsed_arguments == get_weather(**json.loads(ROME))
    # What it parsed goes back as it is, too.
    messages = [*asked("one")["messages"], final.choices[0].message]
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "sunny"})
    assert whole(client, **asked("one", messages=messages))[0].content == SCRIPT["sunny"]


def test_calls_are_forced_by_a_guide(client):
    named = {"type": "function", "function": {"name": "get_weather"}}
    for choice, word, count in [
        ("required", "forced", 1),
        (named, "forced", 1),
        ("required", "double", 2),
    ]:
        fields = asked(word, tool_choice=choice)
        calls = [("get_weather", ROME), ("get_time", "{}")][:count]
        message, finish = whole(client, **fields)
        assert (message.content, calls_of(message.tool_calls), finish) == (None, calls, "tool_calls")
        sent, finish = streamed(client, **fields)
        assert (sent["content"], calls_of(sent["tool_calls"]), finish) == ("", calls, "tool_calls")


@pytest.mark.parametrize("fields", [{"tool_choice": "get_time"}, {"parallel_tool_calls": False}])
def test_the_guide_is_what_was_asked_for(client, fields):
    """The engine refuses what does not fit."""
    with pytest.raises(openai.BadRequestError, match="does not fit the guide") as caught:
        whole(client, **asked("double", **{"tool_choice": "required", **fields}))
    assert caught.value.param == "tool_choice"


def test_without_parallel_calls_there_is_one(client):
    fields = asked("both", parallel_tool_calls=False)
    message, finish = whole(client, **fields)
    assert (message.content, calls_of(message.tool_calls)) == ("Let me see.", [("get_weather", ROME)])
    sent, reason = streamed(client, **fields)
    assert (calls_of(sent["tool_calls"]), finish, reason) == ([("get_weather", ROME)], *["tool_calls"] * 2)


def test_no_tool_is_called_that_was_not_offered(client):
    for fields in ({"tool_choice": "none"}, {"tools": []}):
        message, finish = whole(client, **asked("one", **fields))
        assert (message.content, message.tool_calls, finish) == (CALL, None, "stop")


def test_tools_are_in_the_prompt_unless_none_may_be_called(client):
    counts = {
        choice: client.chat.completions.create(**asked("plain", tool_choice=choice)).usage.prompt_tokens
        for choice in ("auto", "none")
    }
    bare = client.chat.completions.create(**asked("plain", tools=[])).usage.prompt_tokens
    assert counts["none"] == bare < counts["auto"]


def test_the_tokens_of_a_prompt_with_tools_are_counted(client, scripted_frontend):
    fields = asked("plain")
    count = scripted_frontend.send("/tokenize", {key: fields[key] for key in ("messages", "tools")}).content[
        "count"
    ]
    assert count == client.chat.completions.create(**fields).usage.prompt_tokens


def test_a_call_that_is_cut_off_says_so(client):
    tokens = scripted_tokens(client, "one")
    message, finish = whole(client, **asked("one", max_tokens=tokens - 6))
    sent, reason = streamed(client, **asked("one", max_tokens=tokens - 6))
    assert (finish, reason) == ("length", "length")
    (call,) = calls_of(message.tool_calls)
    assert call[0] == "get_weather"
    assert ROME.startswith(call[1])
    assert calls_of(sent["tool_calls"]) == [call]


def scripted_tokens(client, word):
    return client.chat.completions.create(**asked(word)).usage.completion_tokens


def test_a_stop_string_ends_a_call_like_any_text(client):
    message, finish = whole(client, **asked("both", stop="<tool_call>"))
    assert (message.content, message.tool_calls, finish) == ("Let me see.\n", None, "stop")


@pytest.mark.parametrize(
    ("fields", "param", "told"),
    [
        ({"tools": [{"type": "function", "function": {}}]}, "tools", "item 0: function has no name"),
        ({"tools": [{"type": "custom"}]}, "tools", "item 0 has type 'custom'; only functions are served"),
        ({"tools": {}}, "tools", "got an object, must be an array of"),
        ({"tools": [TOOLS[0]] * 2}, "tools", "item 1: there is another function 'get_weather'"),
        (
            {"tool_choice": "get_wether"},
            "tool_choice",
            "there is no tool 'get_wether'; the tools are get_weather",
        ),
        ({"tool_choice": 5}, "tool_choice", "got 5, must be none, auto, required, or"),
        ({"tool_choice": "required", "tools": []}, "tool_choice", "there are no tools; send them with it"),
        ({"functions": [{"name": "f"}]}, "functions", "an older form of tools; send tools and tool_choice"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{}]}]},
            "messages",
            "item 0: tool_calls: item 0: function",
        ),
    ],
)
def test_what_is_wrong_is_said_by_openais_name(client, fields, param, told):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**asked("plain", **fields))
    assert caught.value.param == param
    assert caught.value.body["message"].startswith(f"{param}: {told}")


def test_the_answers_fit_the_description(scripted_frontend):
    from tests.openai.test_openai_schema import fits

    schema = scripted_frontend.send("/openapi.json").content
    bodies = schema["components"]["schemas"]["ChatBody"]
    for word in ("both", "thought", "plain"):
        assert fits(asked(word), bodies, schema)
        answer = scripted_frontend.send("/v1/chat/completions", asked(word)).content
        assert fits(answer, schema["components"]["schemas"]["ChatCompletion"], schema), answer
    assert CITY
