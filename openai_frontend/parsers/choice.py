# SPDX-License-Identifier: Apache-2.0
"""Which parsers a model's answers need, by its chat template and the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tokenizers import Tokenizer

from llm_ensemble.contract.tools import NONE, Tools
from llm_ensemble.errors import EnsembleError
from llm_ensemble.preprocessing.chat import ChatTemplate
from openai_frontend.errors import refusal
from openai_frontend.parsers.calls import CallParser
from openai_frontend.parsers.formats import AUTO, FORCED, FORMATS, OFF, TAGS, CallFormat, format_of
from openai_frontend.parsers.message import MessageParser
from openai_frontend.parsers.reasoning import BEGIN, END, ReasoningParser

MakeParser = Callable[[], MessageParser]
UNKNOWN = (
    "in which format this model calls tools is not known; send tool_choice required, or set TOOL_PARSER "
    f"({', '.join(FORMATS)}, or {OFF} for answers as they are written)"
)
QUESTION = '[{"role": "user", "content": "x"}]'


@dataclass(frozen=True)
class Parsers:
    """How a model's answers are read.

    form: in which it calls tools, None if that is not known, or not looked for (is_off). has_reasoning:
    whether it thinks in tags. opens_reasoning: whether a prompt that asks for an answer ends with the first
    of them. special_tokens: the tokenizer's, which a text has only if it is asked for them.
    """

    form: CallFormat | None = None
    is_off: bool = False
    has_reasoning: bool = False
    opens_reasoning: bool = False
    special_tokens: frozenset[str] = frozenset()

    def parser(self, tools: Tools | None, is_open: bool | None = None) -> MakeParser | None:
        """Return what makes the parser of an answer; None for answers that are text. Raise ApiError.

        is_open: whether the answer begins within reasoning, None if the prompt ends as it mostly does.
        """
        calls = self._calls(tools)
        # A guide leaves no room for reasoning.
        has_reasoning = self.has_reasoning and not (tools and tools.is_forced)
        if not calls and not has_reasoning:
            return None
        open_ = self.opens_reasoning if is_open is None else is_open

        def make() -> MessageParser:
            return MessageParser(
                ReasoningParser(open_) if has_reasoning else None, calls() if calls else None
            )

        return make

    def needs_special_tokens(self, tools: Tools | None) -> bool:
        """Return whether a text without special tokens lacks what the parser looks for."""
        markers = [BEGIN, END] if self.has_reasoning else []
        if self.form and self._calls(tools):
            markers += [self.form.opening, self.form.closing, *self.form.inner]
        return not self.special_tokens.isdisjoint(markers)

    def _calls(self, tools: Tools | None) -> Callable[[], CallParser] | None:
        if not tools or tools.choice == NONE:
            return None
        if tools.is_forced:
            id_length = self.form.id_length if self.form else 0
            return partial(CallParser, FORCED, tools.names, id_length=id_length)
        if self.is_off:
            return None
        if self.form is None:
            raise refusal("tools", UNKNOWN)
        return partial(CallParser, self.form, tools.names, is_parallel=tools.is_parallel)


def choose(
    chat: ChatTemplate | None, tokenizer: Tokenizer, tool_parser: str, reasoning_parser: str
) -> Parsers:
    """Return the parsers of a model. tool_parser, reasoning_parser: as the settings have them."""
    if chat is None:
        return Parsers()
    added = tokenizer.get_added_tokens_decoder().values()
    name = format_of(chat.with_tools.source) if tool_parser == AUTO else tool_parser
    tokens = {token.content for token in added}
    thinks = END in chat.source or {BEGIN, END} <= tokens if reasoning_parser == AUTO else None
    return Parsers(
        form=FORMATS.get(name or ""),
        is_off=tool_parser == OFF,
        has_reasoning=reasoning_parser == TAGS if thinks is None else thinks,
        opens_reasoning=_opens(chat),
        special_tokens=frozenset(token.content for token in added if token.special),
    )


def is_open(text: str) -> bool:
    """Return whether a text ends within reasoning."""
    return text.rfind(BEGIN) > text.rfind(END)


def _opens(chat: ChatTemplate) -> bool:
    """Return whether the template begins the answer's reasoning itself."""
    try:
        return chat.render(QUESTION).rstrip().endswith(BEGIN)
    except EnsembleError:  # such a template needs more than one question
        return False
