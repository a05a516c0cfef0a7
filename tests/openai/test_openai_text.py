# SPDX-License-Identifier: Apache-2.0
"""Texts: those of the ensemble for the same fields, streamed or not."""

import asyncio

import openai
import pytest

from tests.openai.frontend import MESSAGES, MODEL, PROMPT, UNICODE_PROMPT

PROMPTS = [PROMPT, UNICODE_PROMPT, "The package manager", "x"]
SAMPLED = {"temperature": 0.9, "seed": 11}
# OpenAI's fields, and the same in the contract's.
FIELDS = [
    ({"temperature": 0}, {}),
    ({"temperature": 1.3, "seed": 5, "top_p": 0.9}, {"temperature": 1.3, "seed": 5, "top_p": 0.9}),
    ({"seed": 5}, {"temperature": 1, "seed": 5}),
    ({"seed": -1}, {"temperature": 1, "seed": 2**64 - 1}),
    ({"seed": 5, "stop": "e"}, {"temperature": 1, "seed": 5, "stop_words": ["e"]}),
    ({"seed": 5, "stop": ["zz", " the"]}, {"temperature": 1, "seed": 5, "stop_words": ["zz", " the"]}),
    (
        {"seed": 7, "extra_body": {"top_k": 3, "min_p": 0.1, "repetition_penalty": 1.4, "min_tokens": 9}},
        {"temperature": 1, "seed": 7, "top_k": 3, "min_p": 0.1, "repetition_penalty": 1.4, "min_tokens": 9},
    ),
    ({"temperature": 0, "extra_body": {"ignore_eos": True}}, {"ignore_eos": True}),
    ({"temperature": 0, "extra_body": {"end_id": 20}}, {"end_id": 20}),
    ({"seed": 7, "logit_bias": {"262": -100}}, {"temperature": 1, "seed": 7, "logit_bias": {262: -100}}),
    ({"n": 2, "extra_body": {"beam_width": 2}}, {"beam_width": 2, "num_return_sequences": 2}),
]


def joined(chunks, of, n=1):
    """The texts of a stream's choices, and their finish reasons."""
    texts, reasons = [""] * n, [None] * n
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += of(choice) or ""
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    return texts, reasons


@pytest.mark.parametrize(("theirs", "ours"), FIELDS)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_completions_are_the_ensembles(client, ensemble, theirs, ours, prompt):
    expected = ensemble.generate(prompt, max_tokens=24, **ours)
    asked = {"model": MODEL, "prompt": prompt, "max_tokens": 24, **theirs}
    answer = client.completions.create(**asked)
    assert tuple(choice.text for choice in answer.choices) == expected.texts
    assert tuple(choice.finish_reason for choice in answer.choices) == expected.finish_reasons
    assert answer.usage.prompt_tokens == expected.num_input_tokens
    assert answer.usage.completion_tokens == expected.num_output_tokens
    stream = client.completions.create(**asked, stream=True)
    texts, reasons = joined(stream, lambda choice: choice.text, len(expected.texts))
    assert (tuple(texts), tuple(reasons)) == (expected.texts, expected.finish_reasons)


@pytest.mark.parametrize(("theirs", "ours"), FIELDS)
def test_chats_are_the_ensembles(client, ensemble, theirs, ours):
    expected = ensemble.generate(messages=MESSAGES, max_tokens=24, **ours)
    asked = {"model": MODEL, "messages": MESSAGES, "max_completion_tokens": 24, **theirs}
    answer = client.chat.completions.create(**asked)
    assert tuple(choice.message.content for choice in answer.choices) == expected.texts
    assert {choice.message.role for choice in answer.choices} == {"assistant"}
    stream = client.chat.completions.create(**asked, stream=True)
    texts, reasons = joined(stream, lambda choice: choice.delta.content, len(expected.texts))
    assert (tuple(texts), tuple(reasons)) == (expected.texts, expected.finish_reasons)


def test_a_chat_goes_on_as_long_as_fits(frontend, client):
    asked = {"model": MODEL, "messages": MESSAGES, "extra_body": {"ignore_eos": True}}
    answer = client.chat.completions.create(**asked)
    assert answer.usage.total_tokens == frontend.send("/v1/models/demo").content["max_model_len"]
    assert answer.choices[0].finish_reason == "length"


def test_a_completion_has_16_tokens_unless_told(client):
    answer = client.completions.create(model=MODEL, prompt=PROMPT, extra_body={"ignore_eos": True})
    assert answer.usage.completion_tokens == 16


def test_the_developers_role_is_the_systems(client, ensemble):
    given = [{"role": "developer", "content": "Be brief."}, *MESSAGES]
    served = [{"role": "system", "content": "Be brief."}, *MESSAGES]
    answer = client.chat.completions.create(model=MODEL, messages=given, temperature=0, max_tokens=20)
    assert answer.choices[0].message.content == ensemble.generate(messages=served, max_tokens=20).text


def test_an_answer_goes_on_where_its_beginning_ends(client, ensemble):
    given = [*MESSAGES, {"role": "assistant", "content": "Click the"}]
    asked = {"model": MODEL, "messages": given, "temperature": 0, "max_tokens": 20}
    answer = client.chat.completions.create(**asked, extra_body={"continue_final_message": True})
    expected = ensemble.generate(messages=given, continue_final_message=True, max_tokens=20)
    assert answer.choices[0].message.content == expected.text


def test_several_prompts_and_sequences_are_in_order(client, ensemble):
    asked = {"model": MODEL, "prompt": PROMPTS, "n": 2, "max_tokens": 20, **SAMPLED}
    expected = [
        text
        for prompt in PROMPTS
        for text in ensemble.generate(prompt, max_tokens=20, num_return_sequences=2, **SAMPLED).texts
    ]
    answer = client.completions.create(**asked)
    assert [choice.index for choice in answer.choices] == [*range(8)]
    assert [choice.text for choice in answer.choices] == expected
    texts, reasons = joined(client.completions.create(**asked, stream=True), lambda choice: choice.text, 8)
    assert texts == expected
    assert set(reasons) <= {"stop", "length"}


def test_more_prompts_than_the_engine_takes_at_once(client):
    """32 run and 256 wait: those beyond are asked when others have ended."""
    asked = {"model": MODEL, "max_tokens": 2, "extra_body": {"ignore_eos": True}}
    answer = client.completions.create(prompt=[PROMPT] * 400, **asked)
    assert len(answer.choices) == 400
    assert answer.usage.completion_tokens == 800


def test_token_ids_are_a_prompt(frontend, client, ensemble):
    ids = [frontend.send("/tokenize", {"prompt": prompt}).content["tokens"] for prompt in PROMPTS]
    asked = {"model": MODEL, "max_tokens": 20, "temperature": 0}
    expected = [ensemble.generate(prompt, max_tokens=20).text for prompt in PROMPTS]
    assert [choice.text for choice in client.completions.create(prompt=ids, **asked).choices] == expected
    assert client.completions.create(prompt=ids[0], **asked).choices[0].text == expected[0]


@pytest.mark.parametrize("stream", [False, True])
def test_echo_puts_the_prompt_before_the_text(frontend, client, stream):
    ids = frontend.send("/tokenize", {"prompt": PROMPT, "add_special_tokens": False}).content["tokens"]
    asked = {"model": MODEL, "max_tokens": 8, "temperature": 0, "extra_body": {"ignore_eos": True}}
    for prompt in (PROMPT, ids):
        text = client.completions.create(prompt=prompt, **asked).choices[0].text
        answer = client.completions.create(prompt=prompt, echo=True, stream=stream, **asked)
        chunks = answer if stream else [answer]
        assert joined(chunks, lambda choice: choice.text)[0] == [PROMPT + text]


def test_many_asyncio_streams_at_once(frontend, ensemble):
    """Each gets its own text."""
    prompts = [f"{PROMPT} step {number}" for number in range(40)]
    expected = [ensemble.generate(prompt, max_tokens=20).text for prompt in prompts]

    async def one(client, prompt):
        chunks = await client.completions.create(
            model=MODEL, prompt=prompt, max_tokens=20, temperature=0, stream=True
        )
        return "".join([choice.text async for chunk in chunks for choice in chunk.choices])

    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{frontend.url}/v1", api_key="none") as client:
            return await asyncio.gather(*(one(client, prompt) for prompt in prompts))

    assert asyncio.run(ask()) == expected


@pytest.mark.parametrize("call", ["chat", "complete"])
def test_a_logit_bias_of_minus_100_forbids_a_token(frontend, call):
    """By its id, as OpenAI's clients send it."""
    ask = getattr(frontend, call)

    def first(**fields):
        choice = ask(temperature=0, max_tokens=1, **fields).content["choices"][0]
        return choice["text"] if call == "complete" else choice["message"]["content"]

    token = first()
    (token_id,) = frontend.send("/tokenize", {"prompt": token, "add_special_tokens": False}).content["tokens"]
    assert first(logit_bias={str(token_id): -100}) != token
