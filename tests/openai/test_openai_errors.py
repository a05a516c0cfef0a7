# SPDX-License-Identifier: Apache-2.0
"""What is refused: its status, and OpenAI's error body with the field's name."""

import json

import openai
import pytest

from tests.openai.frontend import MESSAGES, MODEL, PROMPT

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
NOT_JSON = [b"", b"{", b"[1", b'{"model": "\xff"}', b'"x', b"[" * 100_000]
WRONG = [
    ("model", 7),
    ("model", None),
    ("prompt", 7),
    ("prompt", ""),
    ("prompt", []),
    ("prompt", [""]),
    ("prompt", ["a", 1]),
    ("prompt", [[]]),
    ("prompt", [-1]),
    ("prompt", [True]),
    ("prompt", [2**40]),
    ("prompt", [100_000]),
    ("prompt", "word " * 2000),
    ("prompt", [[5, 6], [5] * 600]),
    ("n", 0),
    ("n", 33),
    ("n", "1"),
    ("best_of", 2),
    ("max_tokens", 0),
    ("max_tokens", -1),
    ("max_tokens", 5.5),
    ("max_tokens", 600),
    ("max_tokens", 2**40),
    ("temperature", "hot"),
    ("temperature", -0.1),
    ("temperature", 101),
    ("temperature", True),
    ("top_p", 1.1),
    ("stop", 5),
    ("stop", [5]),
    ("stop", ["x"] * 65),
    ("stop", "x" * 257),
    ("seed", 2**64),
    ("seed", -(2**63) - 1),
    ("seed", 1.5),
    ("presence_penalty", 2.1),
    ("frequency_penalty", [1]),
    ("logit_bias", {"5": 10}),  # OpenVINO has -100 alone
    ("logit_bias", {"5": 101}),
    ("logit_bias", {"5": "1"}),
    ("logit_bias", {"5": True}),
    ("logit_bias", {"-5": 1}),
    ("logit_bias", {"word": 1}),
    ("logit_bias", {"4096": 1}),
    ("logit_bias", {str(number): 1 for number in range(1025)}),
    ("logit_bias", 5),
    ("logprobs", 21),
    ("logprobs", True),
    ("suffix", "end"),
    ("echo", "yes"),
    ("stream", 1),
    ("stream_options", 5),
    ("user", 5),
    ("top_k", -2),
    ("end_id", 10**6),
    ("deadline_ms", 0),
    ("beam_width", 9),
    ("length_penalty", 0.5),
    ("bad_words", ["manager"]),  # OpenVINO has those of one token alone
]


def check_error(answer, status, param=None, code=None):
    """Check an error's form; return its message."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    assert set(answer.content) == {"error"}
    assert set(answer.error) == {"message", "type", "param", "code"}
    assert (answer.error["param"], answer.error["code"]) == (param, code)
    return answer.error["message"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("name", "value"), WRONG, ids=lambda value: str(value)[:20])
def test_a_wrong_field_is_named(frontend, name, value, stream):
    message = check_error(frontend.complete(**{"stream": stream, name: value}), 400, name)
    assert message.startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "at least one"),
        ("hello", "array"),
        (["hello"], "object"),
        ([{"role": "user"}], "content"),
        ([{"role": "user", "content": 5}], "string"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "text alone"),
        ([{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}], "tool_calls"),
        ([{"role": "user", "content": "word " * 2000}], "at most"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_wrong_messages_are_refused(frontend, messages, said):
    answer = frontend.chat(messages=messages)
    assert answer.status == 400
    assert answer.error["param"].split(".")[0] == "messages"
    assert said in answer.error["message"]


def test_a_missing_field_is_named(frontend):
    check_error(frontend.send(COMPLETIONS, {"prompt": PROMPT}), 400, "model")
    check_error(frontend.send(COMPLETIONS, {"model": MODEL}), 400, "prompt")
    check_error(frontend.send(CHAT, {"model": MODEL}), 400, "messages")


@pytest.mark.parametrize(
    ("name", "near"),
    [("temperatur", "temperature"), ("stop_words", "stop"), ("num_return_sequences", "n"), ("topp", "top_p")],
)
def test_an_unknown_field_is_refused_with_the_nearest(frontend, name, near):
    message = check_error(frontend.complete(**{name: 1}), 400, name)
    assert message == f"{name}: unknown field; did you mean {near}?"


def test_an_unknown_fields_name_is_shown_in_a_line(frontend):
    answer = frontend.complete(**{"a\nb" + "c" * 300: 1})
    message = answer.error["message"]
    assert answer.status == 400
    assert "\n" not in message
    assert message.startswith("a b")


def test_both_limits_of_a_chat_must_agree(frontend):
    message = check_error(frontend.chat(max_tokens=5, max_completion_tokens=6), 400, "max_tokens")
    assert "max_completion_tokens" in message
    assert frontend.chat(max_tokens=5, max_completion_tokens=5).status == 200
    for name in ("max_tokens", "max_completion_tokens"):
        check_error(frontend.chat(**{name: 600}), 400, name)


def test_what_belongs_to_another_field(frontend):
    check_error(frontend.chat(top_logprobs=2), 400, "top_logprobs")
    check_error(frontend.complete(echo=True, logprobs=1), 400, "echo")
    check_error(frontend.complete(stream_options={"include_usage": True}), 400, "stream_options")
    check_error(
        frontend.chat(stream=True, stream_options={"include_usage": 1}), 400, "stream_options.include_usage"
    )


def test_another_model_is_not_found(frontend, client):
    for answer in (frontend.chat(model="gpt-4"), frontend.send("/v1/models/gpt-4")):
        message = check_error(answer, 404, "model", "model_not_found")
        assert MODEL in message
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("some/other")
    assert caught.value.code == "model_not_found"


def test_another_route_or_method(frontend):
    assert "/v1/embeddings" in check_error(frontend.send("/v1/embeddings", {}), 404)
    assert "GET" in check_error(frontend.send(CHAT), 405)
    assert frontend.send(CHAT).headers["allow"] == "POST"
    check_error(frontend.send("/v1/models", {}), 405)


@pytest.mark.parametrize("body", NOT_JSON, ids=lambda body: body[:9].decode(errors="replace"))
def test_what_is_not_json(frontend, body):
    assert "JSON" in check_error(frontend.send(COMPLETIONS, body), 400)


@pytest.mark.parametrize("body", [[], 5, None, "text"])
def test_json_that_is_no_object(frontend, body):
    check_error(frontend.send(COMPLETIONS, json.dumps(body).encode()), 400)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_content_type(frontend, kind):
    answer = frontend.send(COMPLETIONS, {"model": MODEL, "prompt": PROMPT}, **{"content-type": kind})
    assert "content-type" in check_error(answer, 415)


def test_a_content_type_may_have_parameters(frontend):
    kind = {"content-type": "Application/JSON; charset=utf-8"}
    assert frontend.send(COMPLETIONS, {"model": MODEL, "prompt": PROMPT}, **kind).status == 200


def test_a_model_without_a_chat_template(plain_frontend):
    assert "/v1/completions" in check_error(plain_frontend.chat(), 400, "messages")
    assert plain_frontend.complete().status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_queue_asks_to_come_again(slow, stream):
    waiting = [
        slow.begin(COMPLETIONS, {"prompt": PROMPT, "n": 4, "max_tokens": 400, "ignore_eos": True})
        for _ in "12"
    ]
    slow.tapped.wait(lambda: (slow.tapped.state["running"], slow.tapped.state["waiting"]) == (4, 4))
    answer = slow.complete(stream=stream)
    check_error(answer, 429, None, "rate_limit_exceeded")
    assert answer.headers["retry-after"] == "1"
    with pytest.raises(openai.RateLimitError):
        slow.openai().completions.create(model=MODEL, prompt=PROMPT)
    for connection in waiting:
        connection.close()


def test_a_deadline_is_504_and_is_not_tried_again(slow):
    answer = slow.complete(max_tokens=400, ignore_eos=True, deadline_ms=300)
    check_error(answer, 504, "deadline_ms", "timeout")
    assert answer.headers["x-should-retry"] == "false"
    client = slow.openai(max_retries=5)
    with pytest.raises(openai.InternalServerError):
        client.completions.create(
            model=MODEL, prompt=PROMPT, max_tokens=400, extra_body={"ignore_eos": True, "deadline_ms": 300}
        )


@pytest.mark.parametrize("call", ["chat", "complete"])
def test_a_deadline_in_mid_stream_is_an_error_event(slow, call):
    answer = getattr(slow, call)(max_tokens=400, ignore_eos=True, deadline_ms=600, stream=True)
    assert answer.status == 200
    *events, last = answer.events
    assert events
    assert not any("error" in event for event in events)
    assert last["error"]["code"] == "timeout"


def test_openais_client_raises_for_an_error_event(slow):
    stream = slow.openai().chat.completions.create(
        model=MODEL,
        messages=MESSAGES,
        stream=True,
        extra_body={"ignore_eos": True, "deadline_ms": 600},
    )
    with pytest.raises(openai.APIError) as caught:
        for _ in stream:
            pass
    assert caught.value.code == "timeout"
