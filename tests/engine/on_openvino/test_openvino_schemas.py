# SPDX-License-Identifier: Apache-2.0
"""300 JSON schemas by the engine's library on equal logits, where only the guide can make a text valid."""

import json
import random

import jsonschema_rs
import pytest
from tokenizers import Tokenizer

from llm_ensemble.contract.guide import Guide
from llm_ensemble.contract.guides.guide_grammar import grammar_of
from llm_ensemble.engines.openvino.guides.compiler import GuideCompiler
from llm_ensemble.engines.openvino.guides.trial import Compiler

SCHEMAS = 300
TOKENS = 250
NAMES = ["a", "b", "name", "an id", 'quo"te', "ä", "back\\slash"]
LEAVES = [
    lambda draw: {"type": "string", "maxLength": draw.randint(0, 30), "minLength": 0},
    lambda draw: {"type": "string", "minLength": draw.randint(0, 12), "maxLength": draw.randint(12, 25)},
    lambda draw: {
        "type": "string",
        "pattern": draw.choice(["^[a-z]{2,5}$", r"^\d+-\w?$", "^(ab|c)*d$", '^"\\\\.$']),
    },
    lambda draw: {
        "type": "string",
        "format": draw.choice(["date", "date-time", "time", "uuid", "ipv4", "email"]),
    },
    lambda draw: {"type": "integer"},
    lambda draw: {"type": "integer", "minimum": draw.randint(-500, 0), "maximum": draw.randint(0, 9000)},
    lambda draw: {"type": "integer", "exclusiveMinimum": draw.randint(-50, 50)},
    lambda draw: {
        "type": "number",
        "minimum": draw.randint(-50, 0) / 4,
        "exclusiveMaximum": draw.randint(6, 90),
    },
    lambda draw: {"type": "number"},
    lambda draw: {"type": ["boolean", "null"]},
    lambda draw: {"enum": draw.sample(["x", 1, 2.5, None, True, [1, "y"], {"z": 0}], 3)},
    lambda draw: {"const": draw.choice(["só", 12, {"k": [None]}])},
    lambda draw: {"$ref": "#/$defs/leaf"},
]


def schema(draw, depth):
    """Return a random schema of what is supported."""
    if depth == 0 or draw.random() < 0.2:
        return draw.choice(LEAVES)(draw)
    inner = lambda: schema(draw, depth - 1)  # noqa: E731
    kind = draw.choice(["object", "object", "open", "map", "array", "tuple", "any", "one", "all"])
    names = draw.sample(NAMES, draw.randint(1, 4))
    closed = {"type": "object", "properties": {name: inner() for name in names}}
    closed["required"] = draw.sample(names, draw.randint(0, len(names)))
    return {
        "object": lambda: {**closed, "additionalProperties": False},
        "open": lambda: {**closed, "additionalProperties": draw.choice(LEAVES)(draw)},
        "map": lambda: {
            "type": "object",
            "additionalProperties": inner(),
            "maxProperties": draw.randint(0, 4),
        },
        "array": lambda: {
            "type": "array",
            "items": inner(),
            "minItems": draw.randint(0, 2),
            "maxItems": draw.randint(2, 4),
        },
        "tuple": lambda: {"type": "array", "prefixItems": [inner(), inner()], "items": False},
        "any": lambda: {"anyOf": [inner(), inner()]},
        "one": lambda: {"oneOf": [{"type": "integer"}, {"type": "string", "maxLength": 4}, {"type": "null"}]},
        "all": lambda: {"allOf": [closed, {"type": "object", "minProperties": draw.randint(0, 1)}]},
    }[kind]()


@pytest.fixture(scope="module")
def compiler(engine_dir):
    compiler = GuideCompiler(engine_dir / "tokenizer/tokenizer.json")
    yield Compiler(compiler.folder, compiler.tokenizer)
    compiler.close()


@pytest.fixture(scope="module")
def tokenizer(engine_dir):
    return Tokenizer.from_file(str(engine_dir / "tokenizer/tokenizer.json"))


def test_every_finished_answer_is_valid_by_its_schema(compiler, tokenizer):
    draw, finished = random.Random(17), 0
    for _ in range(SCHEMAS):
        one = {**schema(draw, 2), "$defs": {"leaf": {"type": "boolean"}}}
        ids = compiler.generate(grammar_of(Guide("json_schema", json.dumps(one))), 0, TOKENS)
        if len(ids) == TOKENS or not ids:
            continue  # cut: no JSON yet
        finished += 1
        text = tokenizer.decode([token for token in ids if token], skip_special_tokens=False)
        jsonschema_rs.validator_for(one, validate_formats=True).validate(json.loads(text))
    assert finished > 0.75 * SCHEMAS


def test_json_is_any_object(compiler, tokenizer):
    grammar = grammar_of(Guide("json"))
    ids = compiler.generate(grammar, 0, 3000)
    text = tokenizer.decode([token for token in ids if token], skip_special_tokens=False)
    assert text.startswith("{")
    if len(ids) < 3000:
        assert isinstance(json.loads(text), dict)
