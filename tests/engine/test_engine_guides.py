# SPDX-License-Identifier: Apache-2.0
"""Guides, by every engine that does not lack them. test_vllm.py runs this module in vLLM's environment."""

import json
import re

import pytest
from tokenizers import Tokenizer

from llm_ensemble.contract.guide import Guide
from llm_ensemble.engines.kinds import engine_kind
from llm_ensemble.errors import RequestError
from tests.engine.submitted import KINDS, Submitted

pytestmark = pytest.mark.parametrize("kind", KINDS, indirect=True, scope="module")

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "colour": {"enum": ["red", "blue"]},
        "size": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 99}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 1, "maxItems": 2},
    },
    "required": ["name", "colour", "size", "tags"],
    "additionalProperties": False,
    "$defs": {"tag": {"type": "string", "pattern": "^[a-z]{2,5}$"}},
}
SCHEMA = Guide("json_schema", json.dumps(PERSON))
CODE = Guide("regex", "[A-F]{3}-[0-9]{2,4}")
SUM = Guide("ebnf_grammar", 'root ::= number ("+" number){1,3}\nnumber ::= [0-9] | [1-9] [0-9]')
CHOICES = ['a "quoted" one', "two\nlines", "back\\slash", "größer 猫"]
CHOICE = Guide("choice", json.dumps(CHOICES))
END = 0  # the special token that ends a text
DRAWN = {"greedy": False, "temperature": 1.5}


@pytest.fixture(autouse=True)
def has_guides(kind, manifest):
    if "guide json" in engine_kind(kind).lacks[manifest.backend or ""]:
        pytest.skip(f"{kind} lacks guides")
    if kind == "tensorrt_llm":
        pytest.skip("the fake takes guides and does not compute with them: test_tensorrt_llm_guides.py")


@pytest.fixture(scope="module")
def text(engine_dir):
    """Return what a request's tokens say, special tokens included."""
    tokenizer = Tokenizer.from_file(str(engine_dir / "tokenizer/tokenizer.json"))
    return lambda ids: tokenizer.decode(ids, skip_special_tokens=False)


def is_person(text):
    person = json.loads(text)
    size, tags = person["size"], person["tags"]
    return (
        {*person} == {*PERSON["required"]}
        and len(person["name"]) <= 12
        and person["colour"] in ("red", "blue")
        and (size is None or (type(size) is int and 0 <= size <= 99))
        and 1 <= len(tags) <= 2
        and all(re.fullmatch("[a-z]{2,5}", tag) for tag in tags)
    )


MATCHES = {
    SCHEMA: is_person,
    CODE: lambda text: re.fullmatch(CODE.text, text),
    SUM: lambda text: re.fullmatch(r"(0|[1-9]?[0-9])(\+[1-9]?[0-9]){1,3}", text),
    CHOICE: CHOICES.__contains__,
}


@pytest.mark.parametrize("guide", MATCHES, ids=lambda guide: guide.kind)
def test_a_finished_text_matches_its_guide(engine, text, guide):
    for seed in range(4):
        received = Submitted(engine, 1, max_tokens=200, end_ids=[END], guide=guide, seed=seed, **DRAWN).rest()
        assert received[-1].finish == "stop"
        written = text([token for tokens in received for token in tokens.token_ids])
        assert MATCHES[guide](written), written


def test_what_is_greedy_matches_and_is_not_what_it_would_have_been(engine, text):
    ids = Submitted(engine, 1, max_tokens=200, end_ids=[END], guide=CODE).ids()
    assert MATCHES[CODE](text(ids))
    assert ids != Submitted(engine, 1, max_tokens=len(ids)).ids()


def test_a_text_of_any_json_is_an_object(engine, text):
    received = Submitted(
        engine, 1, max_tokens=400, end_ids=[END], guide=Guide("json"), seed=3, **DRAWN
    ).rest()
    written = text([token for tokens in received for token in tokens.token_ids])
    assert written.lstrip().startswith("{")
    if received[-1].finish == "stop":
        assert isinstance(json.loads(written), dict)


@pytest.mark.parametrize("end_ids", [[], [0], [4095], [4095, 0]])
def test_a_complete_text_ends_whatever_the_end_tokens_are_and_has_none_of_them(engine, kind, text, end_ids):
    if kind == "openvino" and end_ids != [END]:
        pytest.skip("OpenVINO ends a guided text by special tokens alone; preprocessing refuses others")
    received = Submitted(engine, 1, max_tokens=60, guide=CODE, end_ids=end_ids).rest()
    assert received[-1].finish == "stop"
    assert MATCHES[CODE](text([token for tokens in received for token in tokens.token_ids]))


def test_max_tokens_ends_a_text_that_is_not_complete_and_the_finish_says_so(engine, text):
    received = Submitted(engine, 1, max_tokens=3, end_ids=[END], guide=SCHEMA).rest()
    assert received[-1].finish == "length"
    assert text([token for tokens in received for token in tokens.token_ids]).startswith("{")


def test_every_sequence_of_a_request_matches(engine, kind, text):
    if kind == "openvino":
        pytest.skip("OpenVINO guides one sequence, and refuses more by name")
    several = Submitted(
        engine, 1, max_tokens=200, end_ids=[END], guide=SCHEMA, num_return_sequences=4, seed=1, **DRAWN
    )
    written = [text(ids) for ids in several.sequences()]
    assert all(map(is_person, written))
    assert len({*written}) > 1


def test_each_token_has_its_log_probability(engine, text):
    received = Submitted(engine, 1, max_tokens=200, end_ids=[END], guide=CODE, log_probs=True).rest()
    ids = [token for tokens in received for token in tokens.token_ids]
    assert MATCHES[CODE](text(ids))
    assert [len(tokens.log_probs) for tokens in received] == [len(tokens.token_ids) for tokens in received]


def test_several_guides_share_a_batch_with_a_request_that_has_none(engine, text):
    free = Submitted(engine, 1).ids()
    guides = [*MATCHES] * 2
    together = [Submitted(engine, 10, max_tokens=20)]
    together += [
        Submitted(engine, 20 + i, max_tokens=200, end_ids=[END], guide=guide, seed=i, **DRAWN)
        for i, guide in enumerate(guides)
    ]
    ids = [one.ids() for one in together]
    assert ids[0] == free
    for guide, one in zip(guides, ids[1:], strict=True):
        assert MATCHES[guide](text(one)), text(one)


def test_a_guided_request_is_aborted_and_the_next_one_is_whole(engine, text):
    endless = Submitted(engine, 1, max_tokens=400, end_ids=[END], guide=Guide("regex", "[a-z ]{1000}"))
    endless.next()
    engine.abort(1)
    assert endless.rest()[-1].finish == "cancelled"
    assert MATCHES[CODE](text(Submitted(engine, 2, max_tokens=60, end_ids=[END], guide=CODE).ids()))
    assert (engine.stats().running, engine.stats().waiting) == (0, 0)


@pytest.mark.parametrize(
    "guide",
    [
        Guide("json_schema", '{"type": "strin"}'),
        Guide("json_schema", '{"enum": []}'),
        Guide("regex", "(a"),
        Guide("regex", "(?=a)a"),
        Guide("ebnf_grammar", "root ::= other"),
        Guide("ebnf_grammar", 'other ::= "a"'),
        Guide("choice", "[]"),
        Guide("choice", '["a", 1]'),
        Guide("choice", "a"),
    ],
)
def test_a_broken_guide_is_refused_by_name_and_harms_nothing(engine, text, guide):
    with pytest.raises(RequestError, match=r"^guided_decoding_guide: [/\w]"):
        Submitted(engine, 1, end_ids=[END], guide=guide).rest()
    assert MATCHES[CODE](text(Submitted(engine, 2, max_tokens=60, end_ids=[END], guide=CODE).ids()))
