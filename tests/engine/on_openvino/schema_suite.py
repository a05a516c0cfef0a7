# SPDX-License-Identifier: Apache-2.0
"""JSON Schema's own test suite as guides, on equal logits, where only the guide can make a text valid.

    pip download --no-deps --no-binary :all: jsonschema && tar xzf jsonschema-*.tar.gz  # it is in json/
    .venv/bin/python -m tests.engine.on_openvino.schema_suite jsonschema-*/json/tests engines/demo

Prints what is refused most, and each text that is not valid by its schema; a schema that a validator of
another maker does not take either is counted, not judged.
"""

import collections
import json
import sys
from pathlib import Path

import jsonschema_rs
from tokenizers import Tokenizer

from llm_ensemble.contract.guide import Guide
from llm_ensemble.contract.guides.guide_grammar import grammar_of
from llm_ensemble.engines.openvino.guides.compiler import GuideCompiler
from llm_ensemble.engines.openvino.guides.trial import Compiler
from llm_ensemble.errors import RequestError

TOKENS = 600


def schemas(folder):
    """Return the schemas of all released drafts; those that differ in $schema alone are one."""
    found = {}
    for path in sorted(folder.glob("draft[0-9]*/**/*.json")):
        for group in json.loads(path.read_text()):
            schema = group["schema"]
            plain = (
                {k: v for k, v in schema.items() if k != "$schema"} if isinstance(schema, dict) else schema
            )
            found.setdefault(json.dumps(plain, sort_keys=True), schema)
    return list(found.values())


def judge(schema, ids, tokenizer):
    """Return what became of the text."""
    if len(ids) >= TOKENS or not ids:
        return "cut"
    try:
        validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    except jsonschema_rs.ValidationError:
        return "not judged"
    text = tokenizer.decode([token for token in ids if token], skip_special_tokens=False)
    try:
        validator.validate(json.loads(text))
    except (ValueError, jsonschema_rs.ValidationError) as error:
        print(json.dumps(schema), repr(text), error)  # noqa: T201
        return "not valid"
    return "valid"


def main(folder, engine_dir):
    refused, ends = collections.Counter(), collections.Counter()
    vocabulary = GuideCompiler(engine_dir / "tokenizer/tokenizer.json")
    compiler = Compiler(vocabulary.folder, vocabulary.tokenizer)
    tokenizer = Tokenizer.from_file(str(engine_dir / "tokenizer/tokenizer.json"))
    for schema in schemas(folder):
        try:
            grammar = grammar_of(Guide("json_schema", json.dumps(schema)))
        except RequestError as error:
            refused[error.problem.split(": ")[0].rpartition("/")[2][:30]] += 1
        else:
            ends[judge(schema, compiler.generate(grammar, 0, TOKENS), tokenizer)] += 1
    vocabulary.close()
    print("accepted", ends.total(), dict(ends))  # noqa: T201
    print("refused", refused.total(), refused.most_common(12))  # noqa: T201
    return int(ends["not valid"] > 0)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
