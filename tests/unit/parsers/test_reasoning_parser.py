# SPDX-License-Identifier: Apache-2.0
"""Reasoning in tags, alone and in front of tool calls."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_frontend.parsers.calls import CallParser
from openai_frontend.parsers.formats import FORMATS
from openai_frontend.parsers.message import MessageParser
from openai_frontend.parsers.reasoning import ReasoningParser
from tests.unit.parsers.reading import NAMES, calls_of, cut, read

CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'


def thinking(is_open=False, has_tools=False):
    calls = (lambda: CallParser(FORMATS["hermes"], NAMES)) if has_tools else lambda: None
    return lambda: MessageParser(ReasoningParser(is_open), calls())


@pytest.mark.parametrize(
    ("is_open", "text", "reasoning", "content"),
    [
        (False, "<think>\nso\n</think>\n\nYes", "\nso\n", "\n\nYes"),
        (False, "\n<think>so</think>Yes", "so", "Yes"),
        (False, "Yes <think>so</think>", None, "Yes <think>so</think>"),
        (False, "<think>so", "so", ""),
        (False, "<thin", None, "<thin"),
        (False, "<think></think>Yes", None, "Yes"),
        (False, "<think>a</think>b</think>c", "a", "b</think>c"),
        (False, "", None, ""),
        (True, "so</think>Yes", "so", "Yes"),
        (True, "<think>so</think>Yes", "so", "Yes"),
        (True, "so </thin", "so </thin", ""),
        (True, "so", "so", ""),
        (True, "</think>Yes", None, "Yes"),
        (True, "<th", "<th", ""),
    ],
)
def test_reasoning_is_what_the_tags_enclose(is_open, text, reasoning, content):
    for pieces in ([text], text):
        whole = read(thinking(is_open), *pieces)
        assert (whole.get("reasoning_content"), whole["content"]) == (reasoning, content)


def test_calls_come_behind_reasoning_and_those_within_it_are_thoughts():
    whole = read(thinking(has_tools=True), f"<think>I call {CALL}</think>\n\n{CALL}")
    assert whole["reasoning_content"] == f"I call {CALL}"
    assert (whole["content"], calls_of(whole)) == (None, [("add", '{"a": 1}')])


FRAGMENTS = st.sampled_from(["<think>", "</think>", "<", "</th", " ", "\n", "so", CALL, CALL[:30], "é"])


@given(
    st.booleans(),
    st.booleans(),
    st.lists(FRAGMENTS, max_size=8).map("".join),
    st.lists(st.integers(0, 1000), max_size=8),
)
def test_pieces_add_up_to_the_whole(is_open, has_tools, text, places):
    make = thinking(is_open, has_tools)
    assert read(make, *cut(text, places)) == read(make, text)


@given(st.booleans(), st.lists(FRAGMENTS, max_size=8).map("".join))
def test_nothing_but_the_tags_is_left_out(is_open, text):
    parser = thinking(is_open)()
    found = "".join(delta.text for delta in [*parser.feed(text), *parser.flush()])
    begun = text.lstrip().removeprefix("<think>") if text.lstrip().startswith("<think>") else text
    is_thought = is_open or begun is not text
    assert found == (begun.replace("</think>", "", 1) if is_thought else text)
