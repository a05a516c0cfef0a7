# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from llm_ensemble.contract.logit_bias import MAX_TOKENS, add_bias, read_logit_bias, read_word_bias
from llm_ensemble.errors import RequestError


@pytest.mark.parametrize(
    ("text", "bias"),
    [
        ("", {}),
        ("{}", {}),
        ('{"5": -100, "99": 100}', {5: -100.0, 99: 100.0}),
        ('{"5": 0, "6": 0.5, "7": -0.0}', {6: 0.5}),
    ],
)
def test_a_good_bias_is_taken_without_its_zeros(text, bias):
    assert read_logit_bias(text, 100) == bias


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("5", "Expected `object`, got `int`; send a JSON object of token ids and numbers, such as"),
        ("{", "Input data was truncated; send a JSON object"),
        ('{"word": 1}', "Expected `int`, got `str`"),
        ('{"5": "1"}', "Expected `float`, got `str`"),
        ('{"5": null}', "Expected `float`, got `null`"),
        ('{"5": NaN}', "JSON is malformed"),
        ('{"-1": 1}', "got token -1, must be at least 0 and at most 99"),
        ('{"100": 1}', "got token 100, must be at least 0 and at most 99"),
        ('{"5": 100.5}', "got 100.5 for token 5, must be at least -100 and at most 100"),
        ('{"5": -1e9}', "got -1e+09 for token 5, must be at least -100 and at most 100"),
        (json.dumps(dict.fromkeys(range(MAX_TOKENS + 1), 1)), "got 1025 tokens, at most 1024 are allowed"),
        ("[" * 100_000, "Expected `object`, got `array`"),
    ],
)
def test_a_bad_bias_is_refused_by_name(text, told):
    with pytest.raises(RequestError) as caught:
        read_logit_bias(text, 100)
    assert caught.value.field == "logit_bias"
    assert caught.value.problem.startswith(told)


@pytest.mark.parametrize(
    ("words", "weights", "bias"),
    [
        ([], [], {}),
        ([""], [], {}),
        ([], [0.0], {}),
        ([""], [5.0], {}),
        (["a"], [0.0], {}),
        (["a", "b", "a"], [1.0, -2.0, 0.5], {"a": 1.5, "b": -2.0}),
    ],
)
def test_each_word_has_its_weight(words, weights, bias):
    assert read_word_bias(words, weights) == bias


@pytest.mark.parametrize(("words", "weights"), [(["a"], []), (["a", "b"], [1.0]), ([], [1.0])])
def test_a_word_without_a_weight_is_refused(words, weights):
    told = f"^embedding_bias_weights: got {len(weights)}, must be one for each of embedding_bias_words"
    with pytest.raises(RequestError, match=told):
        read_word_bias(words, weights)


def test_a_token_gets_the_weight_of_each_word_that_has_it_and_as_often():
    assert add_bias({5: 1.0, 6: 2.0}, [([5, 7, 7], 0.5), ([6], -2.0)]) == {5: 1.5, 7: 1.0}
    with pytest.raises(RequestError, match="^embedding_bias_words: the words have 1025 tokens, at most 1024"):
        add_bias({}, [([*range(1025)], 1.0)])
