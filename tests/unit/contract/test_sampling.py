# SPDX-License-Identifier: Apache-2.0
import pytest

from llm_ensemble.contract.request_fields import request_fields
from llm_ensemble.contract.sampling import read_sampling
from llm_ensemble.errors import RequestError
from llm_ensemble.manifest import Limits, RequestDefaults

LIMITS = Limits(max_batch_size=4, max_input_len=50, max_seq_len=64, max_num_tokens=64, max_beam_width=3)
DEFAULTS = RequestDefaults(max_tokens=16, end_ids=[2, 5], pad_id=1)


def sampling(**fields):
    return read_sampling(request_fields(fields), 10, [], LIMITS, DEFAULTS, vocabulary=100)


def test_the_manifest_says_what_ends_a_text_and_what_pads():
    assert (sampling().end_ids, sampling().pad_id) == ([2, 5], 1)


def test_end_id_overrides_it_and_pad_id_is_used_for_nothing():
    assert sampling(end_id=99).end_ids == [99]
    assert sampling(pad_id=98) == sampling(pad_id=50_256) == sampling()


@pytest.mark.parametrize("fields", [{"ignore_eos": True}, {"end_id": -1}, {"ignore_eos": True, "end_id": 7}])
def test_nothing_ends_a_text_that_ignores_its_end(fields):
    assert sampling(**fields).end_ids == []


def test_ignore_eos_false_changes_nothing():
    assert sampling(ignore_eos=False).end_ids == [2, 5]


def test_neutral_values_say_what_their_absence_says():
    """Clients of the field send every field always."""
    neutral = {
        "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "length_penalty": 1.0,
        "beam_width": 1, "num_return_sequences": 1, "min_tokens": 0, "random_seed": 0,
        "return_log_probs": False,
    }  # fmt: skip
    assert sampling(**neutral) == sampling()


def test_penalties_are_passed_on_without_turning_sampling_on():
    asked = sampling(repetition_penalty=1.5, presence_penalty=0.5, frequency_penalty=-0.5)
    assert asked.greedy
    assert (asked.repetition_penalty, asked.presence_penalty, asked.frequency_penalty) == (1.5, 0.5, -0.5)


def test_either_name_of_the_seed_is_the_seed():
    assert sampling(top_p=0.9, seed=7).seed == sampling(top_p=0.9, random_seed=7).seed == 7


def test_a_beam_search_returns_all_its_beams_unless_fewer_are_asked_for():
    assert sampling(beam_width=3).num_return_sequences == 3
    assert sampling(beam_width=3, num_return_sequences=2).num_return_sequences == 2
    assert sampling(beam_width=3, num_return_sequences=2).width == 3
    assert sampling(temperature=1.0, num_return_sequences=4).width == 4


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"min_tokens": 11}, "min_tokens: got 11, must be at most max_tokens, which is 10 here"),
        ({"min_length": 11}, "min_length: got 11, must be at most max_tokens, which is 10 here"),
        ({"min_length": 1, "min_tokens": 2}, "min_length: got 1, but min_tokens is 2; they are one field"),
        ({"seed": 1, "random_seed": 2}, "random_seed: got 2, but seed is 1; they are one field"),
        ({"end_id": 100}, "end_id: got 100, must be at most 99, the last of the vocabulary"),
        ({"beam_width": 4}, "beam_width: got 4, at most 3 with this engine (its max_beam_width)"),
        ({"length_penalty": 2.0}, "length_penalty: chooses among beams; send a beam_width above 1"),
        ({"num_return_sequences": 2}, "num_return_sequences: got 2, which would all be the same"),
        ({"top_log_probs": 1}, "top_log_probs: comes with log probabilities; send return_log_probs true"),
        (
            {"num_return_sequences": 2, "top_k": 1},
            "num_return_sequences: got 2, which would all be the same",
        ),
        (
            {"num_return_sequences": 5, "top_p": 0.9},
            "num_return_sequences: got 5, must be at most 4, the engine's max_batch_size",
        ),
        (
            {"num_return_sequences": 3, "beam_width": 2},
            "num_return_sequences: got 3, must be at most 2, beam_width",
        ),
    ],
)
def test_values_that_do_not_fit_the_engine_or_each_other_are_refused(fields, told):
    with pytest.raises(RequestError) as caught:
        sampling(**fields)
    assert str(caught.value).startswith(told)


def test_a_top_k_of_minus_1_takes_all_tokens_and_samples_as_0_does():
    """What vLLM's and TensorRT-LLM's clients send for all tokens."""
    taken = sampling(top_k=-1, seed=3)
    assert (taken.top_k, taken.greedy) == (0, False)
    assert taken == sampling(top_k=0, seed=3)
