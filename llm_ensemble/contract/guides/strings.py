# SPDX-License-Identifier: Apache-2.0
"""The grammar of JSON strings that a schema describes."""

from __future__ import annotations

import functools
from typing import Any

from llm_ensemble.contract.guides.grammar import EMPTY, QUOTATION_MARK, Unsupported, literal
from llm_ensemble.contract.guides.json_values import PLAIN, Values
from llm_ensemble.contract.guides.regex import Regex
from llm_ensemble.contract.guides.schema_parts import count

MAX_LENGTH = 1000  # of a string whose length is bounded; no longer one is made
# So many characters are counted by a rule each; more in blocks, which all strings share. Rules cost time to
# compile, blocks time a token.
CHAIN = 100
_DATE = r"[0-9]{3}[1-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9][0-9]|[0-9])"
_WORD = "[A-Za-z0-9_+-]{1,30}"
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,20}[A-Za-z0-9])?"
# Each makes a part of what the format allows, such as no 29th to 31st of any month.
FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "uuid": "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "ipv4": rf"{_OCTET}(\.{_OCTET}){{3}}",
    "email": rf"{_WORD}(\.{_WORD}){{0,3}}@{_LABEL}(\.{_LABEL}){{0,2}}\.[a-z]{{2,8}}",
    "uri": rf"https?://{_LABEL}(\.{_LABEL}){{0,3}}(/[A-Za-z0-9._~-]{{0,40}}){{0,8}}",
}


def string_part(schema: dict[str, Any], place: str, values: Values) -> str:
    """Return the part for the strings of a schema. Raise Unsupported for keywords that exclude each other."""
    given: list[str] = [name for name in ("pattern", "format") if name in schema]
    given += [name for name in ("minLength", "maxLength") if name in schema][:1]
    if len(given) > 1:
        raise Unsupported(f"{place}/{given[1]}", f"is not supported beside {given[0]}; leave out one of them")
    if "format" in schema:
        return _formatted(schema["format"], f"{place}/format")
    if "pattern" in schema:
        if not isinstance(schema["pattern"], str):
            raise Unsupported(f"{place}/pattern", "must be a string")
        regex = Regex(schema["pattern"], f"{place}/pattern", PLAIN, spell)
        return values.grammar.new(rf'"\"" {regex.anywhere(values.after_any, values.string_end)}')
    if not given:
        return values.string()
    least, most = count(schema, "minLength", place), count(schema, "maxLength", place)
    if most is not None and (least or 0) > most:
        raise Unsupported(f"{place}/minLength", f"got {least}, which is more than maxLength")
    return _of_length(least or 0, most, values, place)


def _of_length(least: int, most: int | None, values: Values, place: str) -> str:
    """Return the rule of a string by its length.

    Each rule ends with the string: by char{0,1000} a token takes xgrammar seconds (seen).
    """
    if least > MAX_LENGTH:
        raise Unsupported(f"{place}/minLength", f"got {least}, at most {MAX_LENGTH} is supported")
    grammar, rest = values.grammar, values.string_end
    if most is not None:
        rest = _up_to(min(most, max(MAX_LENGTH, least)) - least, values)
    for _ in range(least // CHAIN):
        rest = grammar.new(f"{_block(values)} {rest}")
    rest = _chain(least % CHAIN, rest, f"{rest}_after", values)[-1]
    return grammar.new(rf'"\"" {rest}')


def _up_to(most: int, values: Values) -> str:
    """Return the rule of at most so many characters and the end of the string."""
    end = values.grammar.once("end_0", lambda: QUOTATION_MARK)
    ends = _chain(min(most, CHAIN - 1), end, "end", values, before=f"{QUOTATION_MARK} | ")
    rule = ends[most % CHAIN]
    for _ in range(most // CHAIN):
        rule = values.grammar.new(f"{_block(values)} {rule} | {ends[-1]}")
    return rule


def _block(values: Values) -> str:
    """Return the rule of CHAIN characters."""
    return _chain(CHAIN, EMPTY, "block", values)[-1]


def _chain(count: int, rest: str, name: str, values: Values, before: str = "") -> list[str]:
    """Return the rules of no character to `count` characters, each before `rest`."""
    rules = [rest]
    for number in range(1, count + 1):
        body = before + values.char_before(rules[-1])
        rules.append(values.grammar.once(f"{name}_{number}", functools.partial(str, body)))
    return rules


def _formatted(name: Any, place: str) -> str:
    if not isinstance(name, str) or name not in FORMATS:
        raise Unsupported(place, f"got {name!r:.40}, supported are {', '.join(FORMATS)}")
    return rf'("\"" {Regex(FORMATS[name], place, PLAIN, spell).whole()} "\"")'


def spell(char: str) -> str:
    """Return the part for a character within a JSON string."""
    return literal("\\" + char if char in '"\\' else char)
