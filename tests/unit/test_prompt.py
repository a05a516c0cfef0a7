# SPDX-License-Identifier: Apache-2.0
import pytest

from llm_ensemble.errors import EngineDirectoryError, RequestError
from llm_ensemble.prompt import Preprocessor, load_tokenizer


@pytest.fixture
def preprocessor(byte_tokenizer, manifest):
    return Preprocessor(byte_tokenizer, manifest)


def prepare(preprocessor, **fields):
    (result,) = preprocessor.prepare([fields])
    if isinstance(result, RequestError):
        raise result
    return result


def test_a_prompt_becomes_the_tokenizer_s_ids_special_ones_included(preprocessor, byte_tokenizer):
    input_ids, request = prepare(preprocessor, text_input="hi")
    assert input_ids == byte_tokenizer.encode("hi").ids
    assert len(input_ids) == request.text.num_input_tokens == 3


def test_one_bad_prompt_leaves_its_neighbours_alone(preprocessor):
    results = preprocessor.prepare([{"text_input": "a"}, {"text_input": ""}, {}, {"text_input": "bc"}])
    assert [isinstance(result, RequestError) for result in results] == [False, True, True, False]
    assert [result[1].text.num_input_tokens for result in (results[0], results[3])] == [2, 3]


def test_without_a_sampling_field_a_request_is_greedy_and_gets_the_default_budget(preprocessor):
    _, request = prepare(preprocessor, text_input="a", seed=5)
    assert (request.sampling.greedy, request.sampling.max_tokens) == (True, 16)


@pytest.mark.parametrize("fields", [{"temperature": 0.0}, {"top_k": 1}, {"temperature": 0.0, "top_p": 0.5}])
def test_temperature_0_and_top_k_1_are_greedy(preprocessor, fields):
    assert prepare(preprocessor, text_input="a", **fields)[1].sampling.greedy


@pytest.mark.parametrize("fields", [{"temperature": 0.7}, {"top_p": 0.9}, {"top_k": 5}])
def test_a_sampling_field_turns_sampling_on_with_its_value(preprocessor, fields):
    sampling = prepare(preprocessor, text_input="a", seed=9, **fields)[1].sampling
    ((name, value),) = fields.items()
    assert (sampling.greedy, sampling.seed, getattr(sampling, name)) == (False, 9, value)


def test_without_a_seed_each_sampled_request_draws_its_own(preprocessor):
    seeds = {prepare(preprocessor, text_input="a", top_p=0.9)[1].sampling.seed for _ in range(5)}
    assert len(seeds) == 5


def test_the_default_budget_shrinks_to_the_room_there_is(preprocessor):
    assert prepare(preprocessor, text_input="x" * 49)[1].sampling.max_tokens == 14  # 64 - 50


def test_the_limits_hold_to_the_token(preprocessor):
    assert len(prepare(preprocessor, text_input="x" * 49)[0]) == 50
    with pytest.raises(RequestError, match="^text_input: 51 tokens, at most 50 fit"):
        prepare(preprocessor, text_input="x" * 50)
    assert prepare(preprocessor, text_input="x", max_tokens=62)[1].sampling.max_tokens == 62
    with pytest.raises(RequestError, match="^max_tokens: got 63, must be at most 62 here"):
        prepare(preprocessor, text_input="x", max_tokens=63)


def test_the_prompt_is_echoed_only_when_the_client_wants_it(preprocessor):
    assert prepare(preprocessor, text_input="ab")[1].text.echo == ""
    assert prepare(preprocessor, text_input="ab", exclude_input_in_output=False)[1].text.echo == "ab"


def test_a_tokenizer_that_is_not_there_is_one_line_that_says_what_to_do(tmp_path):
    with pytest.raises(
        EngineDirectoryError, match=r"tokenizer.json cannot be loaded .*build the engine again"
    ):
        load_tokenizer(tmp_path)
