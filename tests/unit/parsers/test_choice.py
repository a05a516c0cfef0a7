# SPDX-License-Identifier: Apache-2.0
"""Which parsers a model's answers need."""

import pytest
from tokenizers import AddedToken, Tokenizer, models

from llm_ensemble.contract.tools import Tools
from llm_ensemble.preprocessing.chat import ChatTemplate
from openai_frontend.errors import ApiError
from openai_frontend.parsers.choice import choose, is_open
from openai_frontend.parsers.delta import message
from tests.openai.tools.templates import HERMES, LLAMA3, MISTRAL, OPENING

TOOL = {"type": "function", "function": {"name": "add"}}
PLAIN = "{% for m in messages %}{{ m.content }}{% endfor %}"


def chosen(source, tool_parser="auto", reasoning_parser="auto", special=(), added=()):
    tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    tokenizer.add_special_tokens([*special])
    tokenizer.add_tokens([AddedToken(one) for one in added])
    return choose(ChatTemplate(source, {}), tokenizer, tool_parser, reasoning_parser)


def tools(choice="auto", **keys):
    return Tools([TOOL], choice, **keys)


def read(make, text):
    parser = make()
    return message([*parser.feed(text), *parser.flush()])


@pytest.mark.parametrize(
    ("source", "opening"), [(HERMES, "<tool_call>"), (LLAMA3, "<|python_tag|>"), (MISTRAL, "[TOOL_CALLS]")]
)
def test_the_template_decides_unless_the_setting_does(source, opening):
    assert chosen(source).form.opening == opening
    assert chosen(PLAIN, tool_parser="mistral").form.opening == "[TOOL_CALLS]"
    assert chosen(source, tool_parser="none").form is None


def test_a_model_with_a_template_for_tools_is_known_by_that():
    tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    template = ChatTemplate(PLAIN, {}, ChatTemplate(HERMES, {}))
    assert choose(template, tokenizer, "auto", "auto").form.opening == "<tool_call>"
    assert choose(None, tokenizer, "auto", "auto").parser(None) is None


def test_tools_are_refused_where_the_format_is_unknown_and_taken_where_it_does_not_matter():
    parsers = chosen(PLAIN)
    with pytest.raises(
        ApiError, match="^tools: in which format this model calls tools is not known"
    ) as caught:
        parsers.parser(tools())
    assert caught.value.param == "tools"
    assert parsers.parser(None) is parsers.parser(tools("none")) is None
    whole = read(parsers.parser(tools("required")), '[{"name": "add", "arguments": {}}]')
    assert whole["tool_calls"][0]["id"].startswith("call_")
    assert chosen(PLAIN, tool_parser="none").parser(tools()) is None


def test_forced_calls_have_ids_that_the_template_takes_and_no_reasoning():
    parsers = chosen(MISTRAL, reasoning_parser="tags")
    whole = read(parsers.parser(tools("named", name="add")), '[{"name": "add", "arguments": {}}]')
    assert len(whole["tool_calls"][0]["id"]) == 9
    assert "reasoning_content" not in read(parsers.parser(tools("required")), "<think>")


@pytest.mark.parametrize(
    ("options", "thinks"),
    [
        ({}, False),
        ({"reasoning_parser": "tags"}, True),
        ({"added": ("<think>", "</think>")}, True),
        ({"added": ("<think>", "</think>"), "reasoning_parser": "none"}, False),
        ({"added": ("<think>",)}, False),
    ],
)
def test_a_model_thinks_in_tags_if_its_tokenizer_has_them(options, thinks):
    assert chosen(PLAIN, **options).has_reasoning == thinks
    assert (chosen(PLAIN, **options).parser(None) is not None) == thinks


@pytest.mark.parametrize(("source", "opens"), [(HERMES, False), (OPENING, True)])
def test_a_model_thinks_in_tags_if_its_template_has_them_and_may_begin_within(source, opens):
    parsers = chosen(source)
    assert (parsers.has_reasoning, parsers.opens_reasoning) == (True, opens)
    whole = read(parsers.parser(None), "so</think>Yes")
    assert (whole.get("reasoning_content"), whole["content"]) == (
        ("so", "Yes") if opens else (None, "so</think>Yes")
    )
    assert read(parsers.parser(None, is_open=False), "Yes")["content"] == "Yes"
    assert read(parsers.parser(None, is_open=True), "so")["reasoning_content"] == "so"


def test_a_template_that_refuses_one_question_opens_nothing():
    assert not chosen("{{ raise_exception('</think>') }}").opens_reasoning


def test_special_tokens_are_needed_where_a_marker_is_one():
    for special, needed in [(["[TOOL_CALLS]"], True), (["[ARGS]"], True), (["</s>"], False)]:
        parsers = chosen(MISTRAL, special=special)
        assert parsers.needs_special_tokens(tools()) == needed
        assert not parsers.needs_special_tokens(None)
    assert chosen(HERMES, special=["</think>"]).needs_special_tokens(None)


def test_a_text_ends_within_reasoning_behind_a_tag_that_no_other_closes():
    assert [is_open(text) for text in ("", "<think>a", "<think>a</think>b", "</think><think>")] == [
        *(False, True),
        *(False, True),
    ]
