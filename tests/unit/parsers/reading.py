# SPDX-License-Identifier: Apache-2.0
"""Parsers of tool calls and reasoning, asked in pieces."""

from itertools import pairwise

from openai_frontend.parsers.calls import CallParser
from openai_frontend.parsers.delta import message
from openai_frontend.parsers.formats import FORCED, FORMATS
from openai_frontend.parsers.message import MessageParser

NAMES = ("add", "get_weather", "add.more")
ALL = {**FORMATS, "forced": FORCED}


def of_format(name, **options):
    """What makes a parser of calls alone."""
    return lambda: MessageParser(None, CallParser(ALL[name], NAMES, **options))


def read(make, *pieces):
    """The message that pieces of a text add up to, the ids of its calls left out."""
    parser = make()
    deltas = [delta for piece in pieces for delta in parser.feed(piece)] + parser.flush()
    whole = message(deltas)
    for call in whole.get("tool_calls", ()):
        assert call.pop("id")
        assert call.pop("type") == "function"
    return whole


def cut(text, places):
    """The pieces of a text cut at some places."""
    ends = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[begin:end] for begin, end in pairwise(ends)]


def calls_of(whole):
    """Name and arguments of each call."""
    return [(call["function"]["name"], call["function"]["arguments"]) for call in whole.get("tool_calls", ())]
