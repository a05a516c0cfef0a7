# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from llm_ensemble.errors import RequestError
from llm_ensemble.fields import FIELDS, check_field, refuse_unknown


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("text_input", ["né".encode()], "né"),
        ("stop_words", [b"a", b"", "é".encode()], ["a", "", "é"]),
        ("stop_words", [], []),
        ("max_tokens", [1], 1),
        ("temperature", [0.0], 0.0),
        ("top_p", [1.0], 1.0),
        ("top_k", [0], 0),
        ("seed", [2**64 - 1], 2**64 - 1),
        ("stream", [True], True),
    ],
)
def test_a_good_value_is_taken(name, raw, value):
    assert check_field(name, raw) == value


@pytest.mark.parametrize(
    ("name", "raw", "told"),
    [
        ("max_tokens", [0], "max_tokens: got 0, must be at least 1"),
        ("max_tokens", [-5], "max_tokens: got -5, must be at least 1"),
        ("temperature", [-0.1], "temperature: got -0.1, must be at least 0 and at most 100"),
        ("temperature", [math.nan], "temperature: got nan, must be at least 0 and at most 100"),
        ("temperature", [math.inf], "temperature: got inf, must be at least 0 and at most 100"),
        ("top_p", [0.0], "top_p: got 0, must be above 0 and at most 1"),
        ("top_p", [1.5], "top_p: got 1.5, must be above 0 and at most 1"),
        ("top_k", [-1], "top_k: got -1, must be at least 0"),
        ("text_input", [b"ab\xff"], "text_input: not UTF-8 (byte 2 of 3); send UTF-8"),
        ("stop_words", [b"ok", b"\xff"], "stop_words: not UTF-8 (byte 0 of 1); send UTF-8"),
        ("max_tokens", [1, 2], "max_tokens: takes one value, got 2"),
        ("max_tokens", [], "max_tokens: takes one value, got 0"),
        ("beam_width", [2], "beam_width: not supported by this version; leave it out"),
    ],
)
def test_a_bad_value_is_refused_with_the_field_first(name, raw, told):
    with pytest.raises(RequestError) as caught:
        check_field(name, raw)
    assert str(caught.value) == told


def test_every_field_that_is_not_there_yet_is_refused_by_name():
    for name, field in FIELDS.items():
        if not field.supported:
            with pytest.raises(RequestError, match=f"^{name}: not supported"):
                check_field(name, [1])


def test_an_unknown_name_is_told_the_nearest_known_one():
    assert str(refuse_unknown("temprature")) == "temprature: unknown field; did you mean temperature?"
    assert "the fields are text_input, " in str(refuse_unknown("zzz"))
