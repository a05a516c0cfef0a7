# SPDX-License-Identifier: Apache-2.0
"""All four ways give the same completion, also with 64 streams at once."""

import asyncio
import dataclasses

import pytest

from llm_ensemble_client import AsyncClient, Client
from tests import asking
from tests.client.conftest import WAYS

PROMPT = "The package manager"
SAMPLED = {"temperature": 0.8, "seed": 2**63 + 5, "max_tokens": 30, "stop_words": ["zebra", ","]}


@pytest.fixture(scope="module")
def expected(server):
    """The response of Triton's HTTP API."""
    return asking.generate(server, PROMPT, **SAMPLED)


def test_the_text_and_the_usage_are_the_same(way, server, expected):
    completion = way.generate(server, PROMPT, **SAMPLED)
    assert completion.text == expected["text_output"]
    assert completion.finish_reason == expected["finish_reason"]
    assert completion.num_input_tokens == expected["num_input_tokens"]
    assert completion.num_output_tokens == expected["num_output_tokens"]


def test_a_stream_yields_pieces_and_has_the_completion_at_its_end(way, server, expected):
    stream, pieces = way.stream(server, PROMPT, **SAMPLED)
    assert "".join(pieces) == expected["text_output"]
    assert all(pieces)
    assert stream.finish_reason == expected["finish_reason"]
    assert stream.completion == way.generate(server, PROMPT, **SAMPLED)


def test_a_long_text_comes_in_more_than_one_piece(way, server):
    stream, pieces = way.stream(server, PROMPT, max_tokens=200, ignore_eos=True)
    assert len(pieces) > 1
    assert stream.completion.num_output_tokens == 200


def test_several_sequences_and_log_probs(server):
    asked = {
        "temperature": 1.0,
        "seed": 3,
        "num_return_sequences": 2,
        "max_tokens": 5,
        "return_log_probs": True,
    }
    answers = [way.generate(server, PROMPT, **asked) for way in WAYS]
    answers += [way.stream(server, PROMPT, **asked)[0].completion for way in WAYS]
    answer = answers[0]
    numberless = {dataclasses.replace(one, cum_log_probs=None, output_log_probs=None) for one in answers}
    assert len(numberless) == 1
    for other in answers:
        assert other.cum_log_probs == pytest.approx(answer.cum_log_probs, abs=1e-3)
        assert [*map(len, other.output_log_probs)] == [*map(len, answer.output_log_probs)]
        assert sum(other.output_log_probs, ()) == pytest.approx(sum(answer.output_log_probs, ()), abs=1e-3)
    assert len(answer.texts) == len(answer.cum_log_probs) == len(answer.output_log_probs) == 2
    assert answer.text == answer.texts[0]


@pytest.mark.parametrize("prompt", ["naïve café ☕ 日本語 👩‍🔬", 'a\nb\t"c" \\ ', "\0 nul"])
def test_any_text_goes_through_unchanged(way, server, prompt):
    completion = way.generate(server, prompt, max_tokens=1, exclude_input_in_output=False)
    assert completion.text.startswith(prompt)


def test_a_client_is_used_again_and_by_threads(server):
    with Client(WAYS[0].url(server)) as client:
        texts = {client.generate(PROMPT, max_tokens=3).text for _ in range(5)}
        texts |= {"".join(client.stream(PROMPT, max_tokens=3)) for _ in range(5)}
        assert len(texts) == 1
        assert len(client._transport._idle) == 1, "every request made a connection of its own"


def test_next_gives_a_piece_and_ends(server):
    for way in (WAYS[0], WAYS[2]):
        with Client(way.url(server)) as client:
            stream = client.stream(PROMPT, max_tokens=3)
            text = next(stream)
            for _ in range(3):
                text += next(stream, "")
            assert text == client.generate(PROMPT, max_tokens=3).text


@pytest.mark.parametrize("way", WAYS[1::2], ids=lambda way: way.protocol)
def test_64_streams_in_one_process(server, way):
    """Each text begins with its own prompt, so none is of another stream."""
    prompts = [f"Number {number} and" for number in range(64)]

    async def one(client, prompt):
        stream = client.stream(prompt, max_tokens=40, ignore_eos=True, exclude_input_in_output=False)
        return "".join([piece async for piece in stream]), stream.completion

    async def all_of_them():
        async with AsyncClient(way.url(server)) as client:
            return await asyncio.gather(*(one(client, prompt) for prompt in prompts))

    answers = asyncio.run(all_of_them())
    assert all(text.startswith(prompt) for (text, _), prompt in zip(answers, prompts))
    assert all(completion.text == text for text, completion in answers)
    assert {completion.num_output_tokens for _, completion in answers} == {40}


def test_status_has_version_limit_and_models(way, server):
    status = way.status(server)
    assert status.ready
    assert status.version == asking.triton_version(server)
    assert status.batch_limit == 64
    names = {model.name for model in status.models}
    assert {"ensemble", "ensemble_unary", "tensorrt_llm"} <= names
