# SPDX-License-Identifier: Apache-2.0
"""A server with PROMPT_LOOKUP=1: the texts of one without it, and metrics of what was accepted."""

import concurrent.futures
import os

import pytest

from serving.tritonserver import ROOT
from tests.asking import PROMPTS, generate, generate_stream, joined, refusal
from tests.scraping import scrape
from tests.server.serving import refused, served
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def speculative(demo_engine, tmp_path_factory):
    with served(demo_engine, tmp_path_factory.mktemp("lookup") / "log", PROMPT_LOOKUP=1) as server:
        yield server


def texts(server, **fields):
    """Return the texts of all prompts, asked for at once."""
    with concurrent.futures.ThreadPoolExecutor(len(PROMPTS)) as pool:
        answers = pool.map(lambda prompt: generate(server, prompt, max_tokens=100, **fields), PROMPTS)
        return [(one["text_output"], one["finish_reason"], one["num_output_tokens"]) for one in answers]


def test_greedy_texts_are_the_same_streamed_too(server, speculative):
    plain = texts(server)
    assert texts(speculative) == plain
    for prompt, (text, *_) in zip(PROMPTS, plain):
        events = generate_stream(speculative, prompt, max_tokens=100)
        assert joined(events) == text


def test_a_stop_string_ends_a_text_where_it_does_without(server, speculative):
    for prompt, (text, *_) in zip(PROMPTS, texts(server)):
        for begin in (0, 7, len(text) // 2):
            stop = text[begin : begin + 5]
            asked = {"max_tokens": 100, "stop_words": [stop]}
            plain = generate(server, prompt, **asked)
            answer = generate(speculative, prompt, **asked)
            assert answer["text_output"] == plain["text_output"] == text[: text.index(stop)]
            assert joined(generate_stream(speculative, prompt, **asked)) == plain["text_output"]


def test_proposed_and_accepted_tokens_are_in_the_metrics(server, speculative):
    texts(speculative)
    wait_for(lambda: scrape(speculative).value("llm_accepted_draft_tokens_total") > 0)
    metrics = scrape(speculative)
    assert metrics.value("llm_accepted_draft_tokens_total") < metrics.value("llm_draft_tokens_total")
    assert not scrape(server).of("llm_draft_tokens_total")


def test_what_it_cannot_do_is_a_400_that_names_the_field(speculative):
    status, error = refusal(speculative, {"text_input": "a", "min_tokens": 5})
    assert status == 400
    assert "min_tokens: the openvino engine has none with DRAFT_ENGINE_DIR or PROMPT_LOOKUP" in error


def test_a_server_with_a_draft_gives_the_same_texts(server, demo_engine, int8_engine, tmp_path):
    """The path may be relative to where serve starts, and the stages start elsewhere or not."""
    draft = os.path.relpath(int8_engine, ROOT)
    with served(demo_engine, tmp_path / "log", DRAFT_ENGINE_DIR=draft) as with_draft:
        assert texts(with_draft) == texts(server)
        wait_for(lambda: scrape(with_draft).value("llm_accepted_draft_tokens_total") > 0)


def test_a_draft_that_is_the_model_itself_is_refused_at_the_start(demo_engine):
    line = refused(demo_engine, DRAFT_ENGINE_DIR=str(demo_engine))
    assert "is the engine directory itself: take that of a smaller model" in line
