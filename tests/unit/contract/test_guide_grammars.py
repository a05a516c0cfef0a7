# SPDX-License-Identifier: Apache-2.0
"""What guides are refused for, with the place, and what grammars they become."""

import json

import pytest

from llm_ensemble.contract.guide import Guide
from llm_ensemble.contract.guided import check_guided
from llm_ensemble.contract.guides.guide_grammar import grammar_of
from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.errors import RequestError

DEEP = "(" * 60 + '"a"' + ")" * 60


def nested(depth):
    schema = {"type": "null"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


REFUSED = [
    ("json_schema", '{"a": 1,}', "line 1, column "),
    ("json_schema", "[" * 5000, "is not JSON that can be read"),
    (
        "json_schema",
        {"properties": {"a": {"uniqueItems": True}}},
        "/properties/a/uniqueItems: is not supported",
    ),
    ("json_schema", {"not": {}}, "/not: is not supported"),
    ("json_schema", {"if": True, "then": False}, "/if: is not supported"),
    ("json_schema", {"anyOf": [{"type": "text"}]}, "/anyOf/0/type: got 'text', must be one of object"),
    ("json_schema", {"type": "integer", "multipleOf": 3}, "/multipleOf: is not supported"),
    ("json_schema", {"type": "string", "pattern": "a(?=b)"}, "/pattern: assert is not supported (position 1"),
    (
        "json_schema",
        {"type": "string", "pattern": "a", "minLength": 2},
        "/minLength: is not supported beside pattern",
    ),
    ("json_schema", {"type": "string", "format": "hostname"}, "/format: got 'hostname', supported are date"),
    ("json_schema", {"$ref": "#/$defs/no"}, "/$ref: got '#/$defs/no', which is not in the schema"),
    ("json_schema", {"$ref": "http://x/y"}, "/$ref: got 'http://x/y', must be within the schema"),
    (
        "json_schema",
        {"oneOf": [{"type": "number"}, {"type": "integer"}]},
        "/oneOf: is supported where two branches",
    ),
    ("json_schema", {"type": "array", "items": [{}]}, "/items: must be one schema"),
    ("json_schema", {"type": "array", "minItems": 20000}, "/minItems: repeats at least"),
    ("json_schema", {"type": "string", "minLength": 10**9}, "/minLength: got 1000000000, at most 1000"),
    ("json_schema", {"enum": [f"value {i}" for i in range(9000)]}, "got "),
    (
        "json_schema",
        {"required": ["a"], "properties": {"a": {"$ref": "#"}}},
        "line 1: rule root can never end",
    ),
    ("json_schema", nested(100), "schemas within each other, at most 60"),
    ("json_schema", False, "no value is valid by false"),
    ("regex", "a(b", "missing ), unterminated subpattern at position 1"),
    ("regex", r"(a)\1", "groupref is not supported (position 3"),
    ("regex", r"\bword", "at boundary is not supported (position 0"),
    ("regex", r"\p{L}", r"bad escape \p at position 0"),
    ("regex", "(?i)a", "flags are not supported"),
    ("regex", "a" * 20_000, "got 20000 characters"),
    ("regex", "(" * 3000 + ")" * 3000, "is nested too deep"),
    ("ebnf_grammar", 'root ::= "a"\nb := "c"', "line 2, column 3: "),
    ("ebnf_grammar", 'root ::= "a" other', "line 1: rule root names other, which is not defined"),
    ("ebnf_grammar", 'root ::= "a" b\nb ::= "c" b', "rule root can never end"),
    ("ebnf_grammar", 'start ::= "a"', "must have a rule named root"),
    ("ebnf_grammar", 'root ::= "a" |', "line 1: must have a part"),
    ("ebnf_grammar", "root ::= [z-a]", "line 1: z-a is no range"),
    ("ebnf_grammar", f"root ::= {DEEP}", "line 1: brackets within each other"),
    ("ebnf_grammar", 'root ::= "' + "a" * 1_000_000 + '"', "got 1000011 characters"),
    ("choice", "[]", "must be a JSON array of strings"),
    ("choice", '["a", 1]', "/1: must be a string"),
    ("choice", "yes", "must be a JSON array of strings"),
]


@pytest.mark.parametrize(("kind", "text", "message"), REFUSED, ids=range(len(REFUSED)))
def test_a_guide_is_refused_with_the_place(kind, text, message):
    text = text if isinstance(text, str) else json.dumps(text)
    with pytest.raises(RequestError) as caught:
        grammar_of(Guide(kind, text))
    assert caught.value.field == "guided_decoding_guide"
    assert message in caught.value.problem


@pytest.mark.parametrize(
    ("schema", "same"),
    [
        (
            {"properties": {"a": True}, "unevaluatedProperties": False},
            {"properties": {"a": True}, "additionalProperties": False},
        ),
        (
            {"prefixItems": [{"type": "null"}], "unevaluatedItems": {"type": "integer"}},
            {"prefixItems": [{"type": "null"}], "items": {"type": "integer"}},
        ),
        (  # all are evaluated by additionalProperties
            {"properties": {"a": True}, "additionalProperties": True, "unevaluatedProperties": False},
            {"properties": {"a": True}, "additionalProperties": True},
        ),
        (  # what allOf has is evaluated, too
            {
                "allOf": [{"properties": {"a": True}}],
                "properties": {"b": True},
                "unevaluatedProperties": False,
            },
            {"properties": {"b": True, "a": True}, "additionalProperties": False},
        ),
    ],
)
def test_unevaluated_values_are_those_that_no_keyword_of_the_schema_names(schema, same):
    assert grammar_of(Guide("json_schema", json.dumps(schema))) == grammar_of(
        Guide("json_schema", json.dumps(same))
    )


@pytest.mark.parametrize(
    "schema",
    [
        # In allOf's schema b is unevaluated, and so not valid.
        {"properties": {"b": True}, "allOf": [{"properties": {"a": True}, "unevaluatedProperties": False}]},
        {"$ref": "#/$defs/a", "unevaluatedProperties": False, "$defs": {"a": {"properties": {"a": True}}}},
    ],
)
def test_unevaluated_values_that_another_schema_decides_on_are_refused(schema):
    with pytest.raises(RequestError, match="is not supported"):
        grammar_of(Guide("json_schema", json.dumps(schema)))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("json", ""),
        ("json_schema", "true"),
        (
            "json_schema",
            json.dumps(
                {"$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}
            ),
        ),
        ("json_schema", json.dumps({"allOf": [{"$ref": "#/$defs/b"}], "$defs": {"b": {"type": "null"}}})),
        ("regex", r"^(a|b)+[^\d\s]{2,}?$"),
        ("regex", r'\[".\\"'),
        ("ebnf_grammar", 'root ::= (a | "b" root)*  # a comment\na ::= [^a-z\\]"]+ | "" | "\\u00e4"{2,3}'),
        ("choice", '["a \\"b\\"", "ü\\n"]'),
    ],
)
def test_a_guide_becomes_a_grammar_that_keeps_to_its_own_rules(kind, text):
    assert grammar_of(Guide(kind, text)).startswith("root ::= ")


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"min_tokens": 1}, "min_tokens: a guide says itself"),
        ({"end_ids": []}, "ignore_eos: a guided text ends with an end token"),
        ({"end_ids": [5]}, "end_id: got 5, which is text"),
    ],
)
def test_what_goes_with_no_guide_is_refused_by_name(sampling, message):
    guided = Sampling(**{"max_tokens": 9, "end_ids": [2], "guide": Guide("json"), **sampling})
    with pytest.raises(RequestError, match=message):
        check_guided(guided, {2})
