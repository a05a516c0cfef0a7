# SPDX-License-Identifier: Apache-2.0
"""The sandbox of chat templates: Jinja's, with what transformers offers a chat template and nothing more.

A template is part of a model and so comes from strangers. It reaches no file, no module and no private
attribute, and cannot change what it is given. Bounded are ranges (by Jinja, 100 000), products and powers.
Not bounded are time (loops in loops) and the memory that a filter, a concatenation or a format takes.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_PRODUCT = 1_000_000  # characters or items of a repeated sequence, bits of a power


class Refused(TemplateError):
    """The template refused the conversation by raise_exception."""


class _Generation(Extension):
    """`{% generation %}` marks generated text, for training. Here it is a scope alone, as in transformers."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.CallBlock:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_unmarked"), [], [], body, lineno=line)

    def _unmarked(self, caller: Macro) -> str:
        return caller()


class Sandbox(ImmutableSandboxedEnvironment):
    """The Jinja environment of chat templates; rendering raises SecurityError for what is not allowed."""

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
        self.filters["tojson"] = _to_json
        self.globals["raise_exception"] = _refuse
        self.globals["strftime_now"] = _now

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Return a product or power that does not fill the memory. Raise SecurityError for others."""
        size = _power_bits(left, right) if operator == "**" else _repeated_length(left, right)
        if size > MAX_PRODUCT:
            raise SecurityError(f"{operator} would make something of size {size}")
        return super().call_binop(context, operator, left, right)


def _power_bits(base: Any, exponent: Any) -> int:
    both = isinstance(base, int) and isinstance(exponent, int)
    return base.bit_length() * exponent if both else 0


def _repeated_length(left: Any, right: Any) -> int:
    for sequence, times in ((left, right), (right, left)):
        if isinstance(sequence, (str, list, tuple)) and isinstance(times, int):
            return len(sequence) * times
    return 0


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Write plain JSON, where Jinja's own filter escapes for HTML; options come by name or position."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _refuse(message: object) -> NoReturn:
    raise Refused(str(message))


def _now(format: str) -> str:
    return datetime.now().strftime(format)
