# SPDX-License-Identifier: Apache-2.0
"""Markers of calls that are special tokens, as Mistral's are, and ids as its template wants them."""

import openai
import pytest

from tests.openai.tools.scripted import ROME, TOOLS, asked, calls_of, scripted, streamed
from tests.openai.tools.templates import MISTRAL

MARKERS = ("[TOOL_CALLS]", "[ARGS]")
CALLS = [("get_weather", ROME), ("get_time", "{}")]
ARRAY = '[{"name": "get_weather", "arguments": ' + ROME + '}, {"name": "get_time", "arguments": {}}]'
SCRIPT = {
    "array": f"[TOOL_CALLS] {ARRAY}",
    "named": f"[TOOL_CALLS]get_weather[ARGS]{ROME}[TOOL_CALLS]get_time[ARGS]{{}}",
    "text": "Is [TOOL_CALLS] a marker?",
    "forced": ARRAY,
    "5 degrees": "Röme is cold.",
}


@pytest.fixture(scope="module")
def mistral(demo_engine, tmp_path_factory):
    with scripted(demo_engine, tmp_path_factory.mktemp("mistral"), MISTRAL, SCRIPT, MARKERS) as frontend:
        yield frontend


@pytest.fixture
def client(mistral):
    return mistral.openai()


@pytest.mark.parametrize(("word", "choice"), [("array", "auto"), ("named", "auto"), ("forced", "required")])
def test_a_loop_with_markers_that_are_special_tokens(client, word, choice):
    fields = asked(word, tool_choice=choice)
    sent, finish = streamed(client, **fields)
    assert (sent["content"], calls_of(sent["tool_calls"]), finish) == ("", CALLS, "tool_calls")
    message = client.chat.completions.create(**fields).choices[0].message
    assert (message.content, calls_of(message.tool_calls)) == (None, CALLS)
    assert all(len(call.id) == 9 and call.id.isalnum() for call in message.tool_calls)
    messages = [*fields["messages"], message]
    messages += [
        {"role": "tool", "tool_call_id": call.id, "content": "5 degrees"} for call in message.tool_calls
    ]
    answer = client.chat.completions.create(**asked(word, messages=messages)).choices[0]
    assert (answer.message.content, answer.finish_reason) == (SCRIPT["5 degrees"], "stop")


def test_a_marker_without_a_call_is_text_with_tools_and_skipped_without(client):
    with_tools = client.chat.completions.create(**asked("text")).choices[0].message.content
    assert with_tools == SCRIPT["text"]
    assert streamed(client, **asked("text"))[0]["content"] == SCRIPT["text"]
    without = client.chat.completions.create(**asked("text", tools=[])).choices[0].message.content
    assert "TOOL_CALLS" not in without


def test_the_ensemble_gives_special_tokens_where_they_are_wanted(mistral):
    ensemble = mistral.ensemble()
    fields = {"messages": asked("named")["messages"], "tools": TOOLS, "max_tokens": -1}
    assert "[ARGS]" not in ensemble.generate(**fields).text
    assert ensemble.generate(**fields, skip_special_tokens=False).text == SCRIPT["named"]
    pieces = [*ensemble.stream(**fields, skip_special_tokens=False)]
    assert "".join(pieces) == SCRIPT["named"]
    assert len(pieces) > 2


def test_the_template_s_refusal_of_an_id_is_the_client_s_error(client):
    call = {"id": "call_1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
    messages = [*asked("text")["messages"], {"role": "assistant", "tool_calls": [call]}]
    with pytest.raises(openai.BadRequestError, match="Tool call IDs must have 9 letters and digits"):
        client.chat.completions.create(**asked("text", messages=messages))
