# SPDX-License-Identifier: Apache-2.0
"""From a guide to its grammar, for the check of a request and for engines that compile grammars."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache

from llm_ensemble.contract.guide import Guide
from llm_ensemble.contract.guides.ebnf import check_grammar
from llm_ensemble.contract.guides.grammar import MAX_GRAMMAR, Grammar, Unsupported, either, literal
from llm_ensemble.contract.guides.json_schema import schema_grammar
from llm_ensemble.contract.guides.json_values import Values
from llm_ensemble.contract.guides.regex import Regex

MAX_REGEX = 10_000  # characters
REMEMBERED = 256  # grammars


def grammar_of(guide: Guide) -> str:
    """Return the grammar that a text must match.

    Raise RequestError with the place of what is wrong or not supported: nothing in a guide is ignored.
    """
    found = _read(guide)
    if isinstance(found, Unsupported):
        raise guide.refusal(found.message)
    return found


@lru_cache(REMEMBERED)
def _read(guide: Guide) -> str | Unsupported:
    try:
        if len(guide.text) > MAX_GRAMMAR:
            raise Unsupported("", f"got {len(guide.text)} characters, must have at most {MAX_GRAMMAR}")
        if "\0" in guide.text:
            raise Unsupported("", "must not have the character U+0000")
        grammar = _GRAMMARS[guide.kind](guide.text)
        if len(grammar) > 2 * MAX_GRAMMAR:
            raise Unsupported("", f"its grammar has over {2 * MAX_GRAMMAR} characters; make it simpler")
        check_grammar(grammar)
    except Unsupported as error:
        return error
    except RecursionError:
        return Unsupported("", "is nested too deep")
    return grammar


def _json(_: str) -> str:
    grammar = Grammar()
    return grammar.text(Values(grammar).of_type("object"))


def _regex(text: str) -> str:
    if len(text) > MAX_REGEX:
        raise Unsupported("", f"got {len(text)} characters, must have at most {MAX_REGEX}")
    return Grammar().text(Regex(text).whole())


def _choice(text: str) -> str:
    try:
        choices = json.loads(text)
    except (ValueError, RecursionError):
        choices = None
    if not isinstance(choices, list) or not choices:
        raise Unsupported("", 'must be a JSON array of strings, such as ["yes", "no"]')
    for index, choice in enumerate(choices):
        if not isinstance(choice, str) or not choice:
            raise Unsupported(f"/{index}", "must be a string that is not empty")
    return Grammar().text(either(map(literal, choices)))


_GRAMMARS: dict[str, Callable[[str], str]] = {
    "json": _json,
    "json_schema": schema_grammar,
    "regex": _regex,
    "ebnf_grammar": str,
    "choice": _choice,
}
