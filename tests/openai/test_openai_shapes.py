# SPDX-License-Identifier: Apache-2.0
"""The form of answers and events: OpenAI's own types take them, without converting anything."""

import itertools

import pytest
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.openai.frontend import MODEL, PROMPT

CALLS = ["chat", "complete"]
TYPES = {"chat": (ChatCompletion, ChatCompletionChunk), "complete": (Completion, Completion)}
LONG = {"temperature": 0, "max_tokens": 12, "ignore_eos": True}


def strictly(kind, content):
    """Check content against a type of OpenAI's client; it may have no key that the type does not have."""
    if kind is Completion:  # whose type forgets that events have no reason before the last one
        ends = [
            {**choice, "finish_reason": choice["finish_reason"] or "stop"} for choice in content["choices"]
        ]
        content = {**content, "choices": ends}
    read = kind.model_validate(content, strict=True)
    assert read.model_extra == {}
    for choice in getattr(read, "choices", []):
        assert choice.model_extra == {}
    return read


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("n", [1, 3])
def test_answers_have_openais_type(frontend, call, n):
    content = getattr(frontend, call)(n=n, max_tokens=5).content
    answer = strictly(TYPES[call][0], content)
    assert [choice.index for choice in answer.choices] == [*range(n)]
    assert answer.system_fingerprint.startswith("fp_")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("options", [None, {"include_usage": False}, {"include_usage": True}])
def test_events_have_openais_type(frontend, call, n, options):
    answer = getattr(frontend, call)(n=n, max_tokens=5, stream=True, stream_options=options)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, done = answer.events
    assert done is None
    chunks = [strictly(TYPES[call][1], event) for event in events]
    assert len({(chunk.id, chunk.created, chunk.model, chunk.system_fingerprint) for chunk in chunks}) == 1
    assert chunks[0].model == MODEL
    if options and options["include_usage"]:
        assert all("usage" in event for event in events)
        assert chunks[-1].choices == []
        assert chunks[-1].usage.completion_tokens <= 5 * n
        assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    else:
        assert not any("usage" in event for event in events)
        assert all(chunk.choices for chunk in chunks)


@pytest.mark.parametrize("n", [1, 3])
def test_the_role_comes_first_and_the_finish_reason_last(frontend, n):
    events = frontend.chat(**{**LONG, "temperature": 1}, n=n, stream=True).events[:-1]
    for index in range(n):
        mine = [c for event in events for c in event["choices"] if c["index"] == index]
        assert mine[0]["delta"]["role"] == "assistant"
        assert not any("role" in choice["delta"] for choice in mine[1:])
        assert [choice["finish_reason"] for choice in mine[:-1]] == [None] * (len(mine) - 1)
        assert (mine[-1]["finish_reason"], mine[-1]["delta"]) == ("length", {})


def test_a_text_comes_in_several_events(slow):
    """Not all at once at its end."""
    events = slow.complete(**LONG, stream=True).events
    assert sum(bool(event and event["choices"][0]["text"]) for event in events) > 3


@pytest.mark.parametrize("call", CALLS)
def test_ids_are_new_each_time(frontend, call):
    answers = [getattr(frontend, call)(max_tokens=1).content for _ in range(2)]
    assert answers[0]["id"] != answers[1]["id"]
    assert answers[0]["id"].startswith({"chat": "chatcmpl-", "complete": "cmpl-"}[call])


def test_usage_counts_each_prompt_once(frontend):
    alone = frontend.complete(**LONG).content["usage"]["prompt_tokens"]
    usage = frontend.complete(**{**LONG, "temperature": 1}, prompt=[PROMPT] * 3, n=2).content["usage"]
    assert usage == {"prompt_tokens": 3 * alone, "completion_tokens": 72, "total_tokens": 3 * alone + 72}


def test_models_have_openais_type(frontend, client):
    (model,) = client.models.list().data
    assert model.id == MODEL
    content = frontend.send(f"/v1/models/{MODEL}").content
    assert content == model.model_dump(exclude_unset=True) | {"max_model_len": 512}
    for added in ("max_model_len", "root", "parent"):  # as vLLM's have them
        del content[added]
    strictly(Model, content)


@pytest.mark.parametrize(("call", "stream"), [*itertools.product(CALLS, [False, True])])
def test_the_request_id_comes_back_and_is_tritons(frontend, call, stream):
    path = {"chat": "/v1/chat/completions", "complete": "/v1/completions"}[call]
    body = {"model": MODEL, "stream": stream, "max_tokens": 3, "ignore_eos": True, "temperature": 0}
    body |= {"messages": [{"role": "user", "content": "x"}]} if call == "chat" else {"prompt": PROMPT}
    name = f"mine-{call}-{stream}"
    assert frontend.send(path, body, **{"X-Request-Id": name}).headers["x-request-id"] == name
    assert len(frontend.tapped.sequences(name)[0]) == 3
    made = [frontend.send(path, body).headers["x-request-id"] for _ in range(2)]
    assert made[0] != made[1]
    assert len(frontend.tapped.sequences(made[0])[0]) == 3
