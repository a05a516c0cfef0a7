# SPDX-License-Identifier: Apache-2.0
"""Guides as the strict fake of TensorRT-LLM takes them. It does not compute with them, and no GPU has."""

import json

import pytest

from llm_ensemble.contract.guide import Guide
from llm_ensemble.contract.guides.guide_grammar import grammar_of
from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.tensorrt_llm.api import sampling_params, with_end_of_guide
from llm_ensemble.engines.tensorrt_llm.loading import llm_arguments
from llm_ensemble.engines.tensorrt_llm.settings import TensorRtLlmSettings
from llm_ensemble.errors import RequestError
from tests.engine.submitted import Submitted

SCHEMA = '{"type": "object"}'


@pytest.fixture(scope="module")
def kind():
    return "tensorrt_llm"


def test_the_library_gets_the_tokenizer_and_what_compiles_guides(engine_dir, manifest):
    arguments = llm_arguments(engine_dir, manifest, TensorRtLlmSettings())
    assert arguments["tokenizer"] == str(engine_dir / "tokenizer")
    assert arguments["guided_decoding_backend"] == "xgrammar"
    assert "skip_tokenizer_init" not in arguments


@pytest.mark.parametrize(
    "guide",
    [
        Guide("json"),
        Guide("json_schema", SCHEMA),
        Guide("regex", "a+"),
        Guide("ebnf_grammar", 'root ::= "a"'),
        Guide("choice", json.dumps(['"a"', "b\n", "ö"])),
    ],
)
def test_each_guide_is_the_grammar_that_preprocessing_has_checked(engine, guide):
    params = sampling_params(Sampling(max_tokens=5, guide=guide)).guided_decoding
    assert params._values() == {**type(params)()._values(), "grammar": grammar_of(guide)}


def test_a_guide_ends_with_the_tokenizer_s_end_token_whatever_those_of_the_request_are(engine):
    assert engine._end_of_guide == 0
    guided = Sampling(max_tokens=5, guide=Guide("json"), end_ids=[7, 8])
    assert with_end_of_guide(guided, 0).end_ids == [0, 7, 8]
    assert with_end_of_guide(guided, 8).end_ids == [7, 8]
    assert with_end_of_guide(Sampling(max_tokens=5, end_ids=[7]), 0).end_ids == [7]


def test_a_guided_request_reaches_the_library(engine):
    received = Submitted(engine, 1, guide=Guide("json")).rest()
    assert "the fake cannot compute guided_decoding" in str(received[-1].error)


@pytest.mark.parametrize(
    ("field", "sampling"),
    [
        ("min_tokens", {"min_tokens": 2}),
        ("beam_width", {"beam_width": 2}),
        ("bad_words", {"bad_words": [[5]]}),
        ("guided_decoding_guide", {"guide": Guide("choice", "[]")}),
    ],
)
def test_what_does_not_go_with_a_guide_is_refused_by_name(engine, field, sampling):
    with pytest.raises(RequestError) as refused:
        Submitted(engine, 1, **{"guide": Guide("json"), **sampling})
    assert refused.value.field == field
