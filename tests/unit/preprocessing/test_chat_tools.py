# SPDX-License-Identifier: Apache-2.0
"""Tools in prompts. That they are transformers' prompts: tests/engine_build/parity."""

import json

import pytest

from llm_ensemble.contract.request_fields import RequestFields
from llm_ensemble.errors import RequestError
from llm_ensemble.preprocessing.chat import ChatTemplate, load_chat_template
from llm_ensemble.preprocessing.prompt_text import prompt_text

TOOL = {"type": "function", "function": {"name": "f", "description": "é <b>", "parameters": {"b": 1, "a": 2}}}
HI = [{"role": "user", "content": "hi"}]
SOURCE = "{% if tools %}{{ tools | tojson }} {% endif %}{{ messages[0].content }}"


def prompt(source, messages=HI, tools=(TOOL,), **fields):
    asked = RequestFields(messages=json.dumps(messages), tools=json.dumps([*tools]), **fields)
    return prompt_text(asked, ChatTemplate(source, {}))


def problem(*args, **fields):
    with pytest.raises(RequestError) as caught:
        prompt(*args, **fields)
    return str(caught.value)


def test_a_template_gets_the_tools_as_they_were_sent():
    assert prompt(SOURCE) == json.dumps([TOOL], ensure_ascii=False) + " hi"
    assert prompt(SOURCE, tool_choice="required") == prompt(SOURCE, tool_choice="f") == prompt(SOURCE)


def test_without_tools_or_with_none_to_be_called_it_gets_none():
    source = "{{ tools is none }}"
    assert prompt(source, tools=[]) == prompt(source, tool_choice="none") == "True"


def test_a_template_that_reads_no_tools_refuses_them():
    told = problem("{# tools #}{% set tools = 1 %}{{ messages[0].tools }}")
    assert told.startswith(
        "tools: which the model's chat template does not read; leave it out, or describe them"
    )
    assert prompt("{{ messages[0].content }}", tool_choice="none") == "hi"


def test_tools_that_a_template_fails_on_are_the_caller_s_error():
    for source, error in [("parameters.b + 'x'", "TypeError"), ("returns + 'x'", "UndefinedError")]:
        told = problem("{% if tools %}{{ tools[0].function." + source + " }}{% endif %}")
        assert told.startswith(f"tools: the model's chat template fails on them: {error}")


def test_tools_belong_to_messages():
    asked = RequestFields(text_input="hi", tools=json.dumps([TOOL]))
    with pytest.raises(RequestError, match="^tools: belongs to messages"):
        prompt_text(asked, None)


def test_a_model_may_have_a_template_for_requests_with_tools(tmp_path):
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    templates = [
        {"name": "default", "template": "plain"},
        {"name": "tool_use", "template": "{{ tools[0].type }}"},
    ]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": templates}))
    template = load_chat_template(tmp_path)
    assert template.render(json.dumps(HI)) == template.render(json.dumps(HI), tools=[]) == "plain"
    assert template.render(json.dumps(HI), tools=[TOOL]) == "function"


def test_keys_of_a_tool_loop_are_taken_whether_the_template_reads_them_or_not():
    messages = [
        *HI,
        {"role": "assistant", "content": "", "reasoning_content": "so"},
        {"role": "tool", "tool_call_id": "call_1", "content": "3"},
    ]
    assert (
        prompt("{% for m in messages %}{{ m.content }};{% endfor %}{% if tools %}{% endif %}", messages)
        == "hi;;3;"
    )
    called = [*HI, {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}]
    assert "item 1 has the key 'tool_calls', which" in problem("{{ messages[0].content }}", called, tools=[])
