# SPDX-License-Identifier: Apache-2.0
"""The client without a server: fields, errors, events, retries."""

import asyncio
import json
from typing import get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_ensemble.contract.fields import FIELDS
from llm_ensemble_client import (
    ClientError,
    InvalidRequest,
    Overloaded,
    Retry,
    Sampling,
    ServerError,
    TimedOut,
    Unreachable,
)
from llm_ensemble_client.address import parse_url
from llm_ensemble_client.deadline import Deadline
from llm_ensemble_client.error_mapping import Code, error_from_message
from llm_ensemble_client.request import NO_KEYWORDS, build_fields
from llm_ensemble_client.response import completion_from, read_response
from llm_ensemble_client.retry import with_retries
from llm_ensemble_client.transport import run
from llm_ensemble_client.transports.grpc_wire import infer_response
from llm_ensemble_client.transports.http_async import within
from llm_ensemble_client.transports.http_wire import EventParser, error_from_http
from tests.client.refusing import message

FULL = "Exceeds maximum queue size: 4 running, 4 waiting; try again later"


def test_every_field_is_a_keyword():
    assert set(get_type_hints(Sampling)) | {*NO_KEYWORDS} == set(FIELDS)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", "5"), ("max_tokens", True), ("max_tokens", 1.5), ("max_tokens", 2**31),
        ("seed", -1), ("seed", 2**64), ("temperature", float("nan")), ("temperature", 1e39),
        ("temperature", "1"), ("ignore_eos", 1), ("stop_words", 5), ("stop_words", [1]),
        ("stop_words", ["\ud800"]), ("stream", True), ("text_input", "x"), ("tempratur", 1),
        ("input_ids", [1]), ("messages", []),
    ],
)  # fmt: skip
def test_a_wrong_argument_raises_invalid_request_with_its_name(field, value):
    with pytest.raises(InvalidRequest, match=f"^{field}: ") as caught:
        build_fields("x", None, {field: value})
    assert caught.value.field == field


def test_exactly_one_of_prompt_messages_and_ids_is_required():
    for prompt, messages, ids in [(None, None, None), ("x", [], None), ("x", None, [1]), (None, [], [1])]:
        with pytest.raises(InvalidRequest, match="one of them"):
            build_fields(prompt, messages, {}, ids)


@pytest.mark.parametrize("ids", [[3, 5], (3, 5), range(3, 6, 2), np.array([3, 5]), iter([3, 5])])
def test_token_ids_may_come_in_any_iterable_of_integers(ids):
    assert build_fields(None, None, {}, ids) == {"input_ids": [3, 5]}


@pytest.mark.parametrize("ids", [[], 5, "35", b"35", {3: 5}, [1.0], [True], [None], [2**31], [[3]]])
def test_what_is_no_list_of_token_ids_is_refused(ids):
    with pytest.raises(InvalidRequest, match="^input_ids: ") as caught:
        build_fields(None, None, {}, ids)
    assert caught.value.field == "input_ids"


def test_a_string_is_one_word_and_none_is_not_sent():
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
def test_error_texts_and_codes_map_to_exceptions(message, code, kind, field):
    error = error_from_message(message, code)
    assert type(error) is kind
    assert getattr(error, "field", None) == field


def test_the_error_page_of_a_proxy_is_unreachable():
    assert type(error_from_http(502, b"<html>Bad\nGateway</html>")) is Unreachable
    assert type(error_from_http(404, b"nothing")) is ServerError


@given(st.lists(st.text(), min_size=1), st.integers(1, 9))
def test_events_may_be_cut_anywhere(texts, size):
    values = {"finish_reason": "", "num_input_tokens": 1, "num_output_tokens": 1}
    data = b"".join(
        b"data: " + json.dumps({**values, "text_output": text}, ensure_ascii=False).encode() + b"\n\n"
        for text in texts
    )
    events, got = EventParser(), []
    for start in range(0, len(data), size):
        got += events.feed(data[start : start + size])
    assert [response.texts[0] for response in got] == texts


WHOLE = {"finish_reason": ["stop", "length"], "num_input_tokens": 1, "num_output_tokens": 3}
GOOD = {"text_output": "é", "finish_reason": "", "num_input_tokens": 1, "num_output_tokens": 3}
SCORED = {
    "cum_log_probs": [-1.0, -2.0],
    "output_log_probs": [-1.0, 0.0, -2.0, 0.0],  # the first 0 is a probability of 1, the second no token
    "output_token_ids": [5, 0, 7, -1],
}
TOP = {
    "top_token_ids": [5, 1, 0, 2, 7, 3, -1, -1],
    "top_token_log_probs": [-1.0, -3.0, 0.0, -9.0, -2.0, -4.0, 0.0, 0.0],
}


def test_rows_of_sequences_are_told_from_what_fills_them_up():
    response = read_response({"text_output": ["a", "b"], **WHOLE, **SCORED})
    assert response.output_token_ids == ((5, 0), (7,))
    assert response.output_log_probs == ((-1.0, 0.0), (-2.0,))
    assert response.top_token_ids is response.top_token_log_probs is None
    response = read_response({"text_output": ["a", "b"], **WHOLE, **SCORED, **TOP})
    assert response.top_token_ids == (((5, 1), (0, 2)), ((7, 3),))
    assert response.top_token_log_probs == (((-1.0, -3.0), (0.0, -9.0)), ((-2.0, -4.0),))
    assert completion_from(response).top_token_ids == response.top_token_ids


def test_a_response_without_tokens_has_rows_without_items():
    empty = {name: [] for name in [*SCORED, *TOP]}
    of_one = {"text_output": "", "finish_reason": "", "num_input_tokens": 1, "num_output_tokens": 0}
    response = read_response({**of_one, **empty, "cum_log_probs": 0.0})
    assert response.output_log_probs == response.output_token_ids == response.top_token_ids == ((),)


@given(st.text(), st.sampled_from(["", "stop"]), st.integers(0, 2**31 - 1), st.permutations(range(4)))
def test_a_usual_response_over_grpc_is_read_in_any_order(text, finish, tokens, order):
    values = [("text_output", text), ("finish_reason", finish), ("num_input_tokens", 3)]
    values.append(("num_output_tokens", tokens))
    response = infer_response(message(dict(values[i] for i in order)))
    assert response == read_response(dict(values))


@pytest.mark.parametrize("cut", [slice(1), slice(1, 4)])
def test_a_response_over_grpc_that_is_cut_short_is_the_server_s_error(cut):
    for place in range(4):
        answer = message({**GOOD, "text_output": "é"})
        answer.raw_output_contents[place] = answer.raw_output_contents[place][cut]
        with pytest.raises(ServerError):
            infer_response(answer)


class Attempts:
    """Raises the errors in turn, then returns; records the pauses."""

    def __init__(self, *errors):
        self._errors, self.slept = list(errors), []

    async def attempt(self):
        if self._errors:
            raise self._errors.pop(0)
        return "yes"

    async def sleep(self, seconds):
        self.slept.append(seconds)

    def run(self, policy, seconds=60):
        return run(with_retries(self.attempt, policy, Deadline(seconds), self.sleep))


def test_pauses_double_up_to_the_longest():
    attempts = Attempts(*[Overloaded("full")] * 5)
    assert attempts.run(Retry(times=5, first=1, longest=4)) == "yes"
    for pause, most in zip(attempts.slept, (1, 2, 4, 4, 4)):
        assert most / 2 <= pause <= most


@pytest.mark.parametrize("error", [InvalidRequest("no"), ServerError("no"), TimedOut("no")])
def test_other_errors_are_not_retried(error):
    attempts = Attempts(error)
    with pytest.raises(ClientError, match="no"):
        attempts.run(Retry())
    assert attempts.slept == []


def test_no_pause_exceeds_the_deadline():
    attempts = Attempts(Unreachable("gone"))
    with pytest.raises(Unreachable, match="gone"):
        attempts.run(Retry(first=10), seconds=1)
    assert attempts.slept == []


@pytest.mark.parametrize("url", ["localhost:port", "ftp://x", "http://", "http://x:99999", ""])
def test_a_bad_url(url):
    with pytest.raises(InvalidRequest, match="^url: "):
        parse_url(url)


def test_urls():
    assert parse_url("grpc://here").netloc == "here:8001"
    assert parse_url("http://[::1]:80/llm/").url == "http://[::1]:80/llm"


@pytest.mark.parametrize(
    ("url", "means"),
    [
        ("localhost", "http://localhost:8000"),
        ("localhost:8000", "http://localhost:8000"),
        ("localhost:8001", "grpc://localhost:8001"),
        ("here:9000/llm", "http://here:9000/llm"),
        ("[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_a_url_without_a_scheme_is_http_but_for_triton_s_grpc_port(url, means):
    assert parse_url(url).url == means
    assert parse_url(url, "grpc").scheme == "grpc"


def test_before_pause_gets_the_error_and_can_end_the_call():
    seen = []
    assert Attempts(Overloaded("full")).run(Retry(before_pause=seen.append)) == "yes"
    assert [str(error) for error in seen] == ["full"]

    def refuse(error):
        raise error

    attempts = Attempts(Unreachable("gone"), Unreachable("never asked"))
    with pytest.raises(Unreachable, match="gone"):
        attempts.run(Retry(before_pause=refuse))
    assert attempts.slept == []
    assert parse_url("https://x").is_secure


def test_past_its_deadline_a_call_begins_nothing():
    """A coroutine that is made and not awaited makes Python warn, which the tests take for an error."""
    begun = []
    with pytest.raises(TimedOut):
        asyncio.run(within(Deadline(0), lambda: begun.append(1)))
    assert begun == []
