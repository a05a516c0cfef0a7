# SPDX-License-Identifier: Apache-2.0
"""Log probabilities: the ensemble's, with each token's text and bytes."""

import math

import pytest

from tests.fake_engine import fake_engine
from tests.openai.frontend import MESSAGES, PROMPT, UNICODE_PROMPT, frontend_of

LONG = {"temperature": 0, "max_tokens": 24, "ignore_eos": True}
# Sampled texts of the demo model have tokens that are parts of a character.
WILD = {"temperature": 100, "seed": 3, "max_tokens": 200, "ignore_eos": True}


@pytest.fixture(scope="module")
def with_top(chat_engine, tmp_path_factory):
    """A frontend of an engine that gives the most probable tokens: the fake TensorRT-LLM."""
    engine = fake_engine(chat_engine, tmp_path_factory.mktemp("fake") / "engine")
    with frontend_of(engine, tmp_path_factory.mktemp("top")) as frontend:
        yield frontend


def streamed(answer, part):
    """The log probabilities of all events, one list a key."""
    joined = {}
    for event in answer.events[:-1]:
        for choice in event["choices"]:
            for key, values in (choice["logprobs"] or {}).items():
                joined[key] = joined.get(key, []) + values if values is not None else None
    return joined


@pytest.mark.parametrize("stream", [False, True])
def test_a_chats_are_the_ensembles(frontend, ensemble, stream):
    expected = ensemble.generate(messages=MESSAGES, max_tokens=24, ignore_eos=True, return_log_probs=True)
    answer = frontend.chat(**LONG, logprobs=True, stream=stream)
    found = streamed(answer, "content") if stream else answer.content["choices"][0]["logprobs"]
    assert found["refusal"] is None
    values = [one["logprob"] for one in found["content"]]
    assert values == pytest.approx(expected.output_log_probs[0], abs=1e-3)
    assert "".join(one["token"] for one in found["content"]).replace("</s>", "") == expected.text
    assert [one["top_logprobs"] for one in found["content"]] == [[]] * 24


@pytest.mark.parametrize("stream", [False, True])
def test_a_completions_are_the_ensembles(frontend, ensemble, stream):
    expected = ensemble.generate(PROMPT, max_tokens=24, ignore_eos=True, return_log_probs=True)
    answer = frontend.complete(**LONG, logprobs=0, stream=stream)
    found = streamed(answer, "tokens") if stream else answer.content["choices"][0]["logprobs"]
    assert found["token_logprobs"] == pytest.approx(expected.output_log_probs[0], abs=1e-3)
    texts = [token.replace("</s>", "") for token in found["tokens"]]  # the end token is no text
    assert "".join(texts) == expected.text
    assert found["top_logprobs"] is None
    assert found["text_offset"] == [sum(map(len, texts[:number])) for number in range(24)]


def test_bytes_are_those_of_the_text(frontend):
    """Of tokens that are parts of characters, too; those that are no text at all are shown as U+FFFD."""
    choice = frontend.complete(**WILD, prompt=UNICODE_PROMPT, logprobs=0).content["choices"][0]
    tokens = choice["logprobs"]["tokens"]
    assert any(token.startswith("bytes:") for token in tokens)
    chat = frontend.chat(**WILD, logprobs=True).content["choices"][0]
    found = chat["logprobs"]["content"]
    raw = b"".join(bytes(one["bytes"]) for one in found if one["token"] not in ("</s>", "<pad>"))
    assert raw.decode(errors="replace") == chat["message"]["content"]
    assert any("\ufffd" in one["token"] for one in found)


def test_each_choice_has_its_own(frontend):
    answer = frontend.complete(prompt=[PROMPT, "x"], n=2, seed=4, max_tokens=8, ignore_eos=True, logprobs=0)
    whole = answer.content["choices"]
    assert [len(choice["logprobs"]["tokens"]) for choice in whole] == [8] * 4
    for choice in whole:
        assert "".join(choice["logprobs"]["tokens"]).replace("</s>", "") == choice["text"]


def test_none_are_sent_unless_asked(frontend):
    for answer in (frontend.chat(**LONG, logprobs=False), frontend.chat(**LONG), frontend.complete(**LONG)):
        assert answer.content["choices"][0]["logprobs"] is None
    events = frontend.chat(**LONG, stream=True).events[:-1]
    assert all(choice["logprobs"] is None for event in events for choice in event["choices"])


def test_an_engine_without_the_most_probable_tokens_says_so(frontend):
    for answer, name in (
        (frontend.chat(**LONG, logprobs=True, top_logprobs=2), "top_logprobs"),
        (frontend.complete(**LONG, logprobs=2), "logprobs"),
    ):
        assert (answer.status, answer.error["param"]) == (400, name)
        assert "openvino" in answer.error["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_the_most_probable_tokens(with_top, stream):
    answer = with_top.chat(**LONG, logprobs=True, top_logprobs=3, stream=stream)
    found = streamed(answer, "content") if stream else answer.content["choices"][0]["logprobs"]
    assert len(found["content"]) == 24
    for one in found["content"]:
        assert len(one["top_logprobs"]) == 3
        assert one["top_logprobs"][0] == {key: one[key] for key in ("token", "logprob", "bytes")}  # greedy
        values = [other["logprob"] for other in one["top_logprobs"]]
        assert values == sorted(values, reverse=True)
        assert all(math.isfinite(value) for value in values)
    answer = with_top.complete(**LONG, logprobs=3, stream=stream)
    found = streamed(answer, "tokens") if stream else answer.content["choices"][0]["logprobs"]
    for token, value, top in zip(found["tokens"], found["token_logprobs"], found["top_logprobs"]):
        assert top[token] == value
