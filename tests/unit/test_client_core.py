# SPDX-License-Identifier: Apache-2.0
"""The client without a server: fields, errors, events, retries."""

import json
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import (
    ClientError,
    InvalidRequest,
    Overloaded,
    Retry,
    Sampling,
    ServerError,
    TimedOut,
    Unreachable,
)
from client.address import parse_url
from client.deadline import Deadline
from client.faults import Code, fault
from client.http_wire import Events, http_fault
from client.request import build_fields
from client.retry import patiently
from client.transport import run
from llm_ensemble.fields import FIELDS

FULL = "Exceeds maximum queue size: 4 running, 4 waiting; try again later"


def test_every_field_is_a_keyword():
    assert set(get_type_hints(Sampling)) | {"text_input", "messages", "stream"} == set(FIELDS)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", "5"), ("max_tokens", True), ("max_tokens", 1.5), ("max_tokens", 2**31),
        ("seed", -1), ("seed", 2**64), ("temperature", float("nan")), ("temperature", 1e39),
        ("temperature", "1"), ("ignore_eos", 1), ("stop_words", 5), ("stop_words", [1]),
        ("stop_words", ["\ud800"]), ("stream", True), ("text_input", "x"), ("tempratur", 1),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_refused_by_name(field, value):
    with pytest.raises(InvalidRequest, match=f"^{field}: ") as caught:
        build_fields("x", None, {field: value})
    assert caught.value.field == field


def test_a_prompt_or_messages():
    for prompt, messages in ((None, None), ("x", [])):
        with pytest.raises(InvalidRequest, match="one of them"):
            build_fields(prompt, messages, {})


def test_one_word_is_one_word_and_none_is_nothing():
    assert build_fields("x", None, {"stop_words": "end", "bad_words": [], "seed": None}) == {
        "text_input": "x",
        "stop_words": ["end"],
    }


@pytest.mark.parametrize(
    ("message", "code", "kind", "field"),
    [
        (f"in ensemble 'ensemble', {FULL}", Code.UNKNOWN, Overloaded, None),
        (FULL, Code.UNAVAILABLE, Overloaded, None),
        ("in ensemble 'ensemble', top_p: got 2", Code.UNKNOWN, InvalidRequest, "top_p"),
        ("frob: unknown field; did you mean seed?", Code.UNKNOWN, InvalidRequest, "frob"),
        ("unable to parse", Code.INVALID, InvalidRequest, None),
        ("seed: is what it says, but 500", Code.INTERNAL, ServerError, None),
        ("internal error; see the log", Code.UNKNOWN, ServerError, None),
        ("Socket closed", Code.UNAVAILABLE, Unreachable, None),
    ],
)
def test_words_and_codes(message, code, kind, field):
    error = fault(message, code)
    assert type(error) is kind
    assert getattr(error, "field", None) == field


def test_a_proxy_s_page_is_no_answer():
    assert type(http_fault(502, b"<html>Bad\nGateway</html>")) is Unreachable
    assert type(http_fault(404, b"nothing")) is ServerError


@given(st.lists(st.text(), min_size=1), st.integers(1, 9))
def test_events_may_be_cut_anywhere(texts, size):
    values = {"finish_reason": "", "num_input_tokens": 1, "num_output_tokens": 1}
    data = b"".join(
        b"data: " + json.dumps({**values, "text_output": text}, ensure_ascii=False).encode() + b"\n\n"
        for text in texts
    )
    events, got = Events(), []
    for start in range(0, len(data), size):
        got += events.feed(data[start : start + size])
    assert [response.texts[0] for response in got] == texts


class Attempts:
    """Raises one error after the other, then answers; and remembers how long it slept."""

    def __init__(self, *errors):
        self._errors, self.slept = list(errors), []

    async def attempt(self):
        if self._errors:
            raise self._errors.pop(0)
        return "yes"

    async def sleep(self, seconds):
        self.slept.append(seconds)

    def ask(self, policy, seconds=60):
        return run(patiently(self.attempt, policy, Deadline(seconds), self.sleep))


def test_pauses_double_up_to_the_longest():
    attempts = Attempts(*[Overloaded("full")] * 5)
    assert attempts.ask(Retry(times=5, first=1, longest=4)) == "yes"
    for pause, most in zip(attempts.slept, (1, 2, 4, 4, 4)):
        assert most / 2 <= pause <= most


@pytest.mark.parametrize("error", [InvalidRequest("no"), ServerError("no"), TimedOut("no")])
def test_these_are_not_asked_again(error):
    attempts = Attempts(error)
    with pytest.raises(ClientError, match="no"):
        attempts.ask(Retry())
    assert attempts.slept == []


def test_a_pause_that_outlasts_the_time_is_not_begun():
    attempts = Attempts(Unreachable("gone"))
    with pytest.raises(Unreachable, match="gone"):
        attempts.ask(Retry(first=10), seconds=1)
    assert attempts.slept == []


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "http://x:99999", ""])
def test_a_bad_url(url):
    with pytest.raises(InvalidRequest, match="^url: "):
        parse_url(url)


def test_urls():
    assert parse_url("grpc://here").netloc == "here:8001"
    assert parse_url("http://[::1]:80/llm/").url == "http://[::1]:80/llm"
    assert parse_url("https://x").is_secure
