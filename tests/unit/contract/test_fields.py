# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from llm_ensemble.contract.fields import (
    FIELDS,
    MAX_WORD_LENGTH,
    MAX_WORDS,
    check_field,
    refuse_unknown,
)
from llm_ensemble.contract.unserved import NEVER_SENT, UNSERVED, check_outputs, check_unserved
from llm_ensemble.errors import RequestError


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("text_input", ["né".encode()], "né"),
        ("stop_words", [b"a", b"", "é".encode()], ["a", "é"]),  # an empty word asks for nothing
        ("stop_words", [], []),
        ("bad_words", [b""], []),
        ("stop_words", ["é".encode() * MAX_WORD_LENGTH] * MAX_WORDS, ["é" * MAX_WORD_LENGTH] * MAX_WORDS),
        ("embedding_bias_words", [b"a", b""], ["a", ""]),  # each has a weight
        ("embedding_bias_weights", [], []),
        ("embedding_bias_weights", [-100.0, 0.5], [-100.0, 0.5]),
        ("input_ids", [5, 0], [5, 0]),
        ("max_tokens", [1], 1),
        ("max_tokens", [-1], -1),
        ("temperature", [0.0], 0.0),
        ("top_p", [1.0], 1.0),
        ("top_k", [0], 0),
        ("top_k", [-1], -1),
        ("seed", [2**64 - 1], 2**64 - 1),
        ("stream", [True], True),
    ],
)
def test_a_good_value_is_taken(name, raw, value):
    assert check_field(name, raw) == value


@pytest.mark.parametrize(
    ("name", "raw", "told"),
    [
        ("max_tokens", [0], "max_tokens: got 0, must be at least 1, or -1 for as many as fit"),
        ("max_tokens", [-5], "max_tokens: got -5, must be at least 1, or -1 for as many as fit"),
        ("input_ids", [], "input_ids: empty; send at least one token id"),
        ("input_ids", [5, -3, 0], "input_ids: got -3, must be at least 0"),
        ("temperature", [-0.1], "temperature: got -0.1, must be at least 0 and at most 100"),
        ("temperature", [math.nan], "temperature: got nan, must be at least 0 and at most 100"),
        ("temperature", [math.inf], "temperature: got inf, must be at least 0 and at most 100"),
        ("temperature", [-math.inf], "temperature: got -inf, must be at least 0 and at most 100"),
        ("top_p", [-0.1], "top_p: got -0.1, must be at least 0 and at most 1"),
        ("top_p", [1.5], "top_p: got 1.5, must be at least 0 and at most 1"),
        ("min_p", [1.01], "min_p: got 1.01, must be at least 0 and at most 1"),
        ("min_tokens", [-1], "min_tokens: got -1, must be at least 0"),
        ("min_length", [-1], "min_length: got -1, must be at least 0"),
        ("repetition_penalty", [0.0], "repetition_penalty: got 0, must be above 0 and at most 100"),
        ("presence_penalty", [-2.5], "presence_penalty: got -2.5, must be at least -2 and at most 2"),
        ("frequency_penalty", [3], "frequency_penalty: got 3, must be at least -2 and at most 2"),
        ("length_penalty", [11], "length_penalty: got 11, must be at least -10 and at most 10"),
        ("beam_width", [0], "beam_width: got 0, must be at least 1"),
        ("num_return_sequences", [0], "num_return_sequences: got 0, must be at least 1"),
        ("end_id", [-2], "end_id: got -2, must be at least -1"),
        ("pad_id", [-1], "pad_id: got -1, must be at least 0"),
        ("deadline_ms", [0], "deadline_ms: got 0, must be at least 1"),
        ("top_k", [-2], "top_k: got -2, must be at least -1"),
        ("text_input", [b"ab\xff"], "text_input: not UTF-8 (byte 2 of 3); send UTF-8"),
        ("stop_words", [b"ok", b"\xff"], "stop_words: not UTF-8 (byte 0 of 1); send UTF-8"),
        ("max_tokens", [1, 2], "max_tokens: takes one value, got 2"),
        ("max_tokens", [], "max_tokens: takes one value, got 0"),
        ("stop_words", [b"a"] * 10_000, "stop_words: got 10000 strings, at most 64 are allowed"),
        (
            "embedding_bias_weights",
            [1.0, 101.0],
            "embedding_bias_weights: got 101, must be at least -100 and at most 100",
        ),
        (
            "embedding_bias_weights",
            [1.0] * 65,
            "embedding_bias_weights: got 65 numbers, at most 64 are allowed",
        ),
        ("bad_words", [b"a" * 257], "bad_words: got a string of 257 characters, at most 256 are allowed"),
    ],
)
def test_a_bad_value_is_refused_with_the_field_first(name, raw, told):
    with pytest.raises(RequestError) as caught:
        check_field(name, raw)
    assert str(caught.value) == told


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if field.datatype == "FP32"])
def test_no_number_field_takes_what_is_no_number(name):
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(RequestError, match=f"^{name}: got {value:g}, must be "):
            check_field(name, [value])


def test_an_unknown_name_is_told_the_nearest_known_one():
    assert str(refuse_unknown("temprature")) == "temprature: unknown field; did you mean temperature?"
    assert str(refuse_unknown("stop")) == "stop: unknown field; did you mean stop_words?"
    assert "the fields are text_input, " in str(refuse_unknown("zzz"))


def test_a_field_sent_as_a_parameter_is_told_where_it_belongs():
    assert str(refuse_unknown("max_tokens")) == "max_tokens: sent as a parameter; send it as an input"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("", '""'),
        ("a\nb\0\u2028", r"a\nb\x00\u2028"),
        ("naïve 日本", "naïve 日本"),
        ("n" * 1_000_000, "n" * 64 + "..."),
    ],
)
def test_an_unknown_name_is_repeated_in_one_short_line(name, shown):
    assert str(refuse_unknown(name)).startswith(f"{shown}: unknown field; ")


def test_a_number_is_told_so_that_it_is_not_taken_for_a_good_one():
    for name, value, shown in [
        ("max_tokens", -(2**31), "-2147483648"),
        ("top_p", 1.0000001192, "1.00000012"),
    ]:
        with pytest.raises(RequestError, match=f"^{name}: got {shown}, must be "):
            check_field(name, [value])


@pytest.mark.parametrize("name", UNSERVED)
def test_an_unserved_input_may_have_values_that_ask_for_nothing_or_none(name):
    check_unserved(name, [])
    check_unserved(name, UNSERVED[name].neutral)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("return_context_logits", [True]),
        ("lora_config", [7]),
        ("prompt_embedding_table", [0.0]),
    ],
)
def test_an_unserved_input_that_asks_is_refused_by_name(name, raw):
    with pytest.raises(RequestError, match=f"^{name}: {UNSERVED[name].instead}"):
        check_unserved(name, raw)


def test_outputs_that_never_come_are_refused_unless_all_are_asked_for():
    """A request that names no outputs asks for all."""
    check_outputs({"text_output", "batch_index"})
    check_outputs({"text_output", *NEVER_SENT})
    with pytest.raises(RequestError, match="^acceptance_rate: a request has no draft model"):
        check_outputs({"text_output", "acceptance_rate"})
