# SPDX-License-Identifier: Apache-2.0
"""How much Python runs for a token: calls of a fixed replay, which no other work of the machine changes.

Seen on Python 3.11: 7, 20, 0.1 and 36. Who needs a few more may raise a number; it is there so that nobody
does unseen.
"""

import math
import sys

from llm_ensemble.contract.request import Request, TextOptions
from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.contract.stream_id import StreamId
from llm_ensemble.engine_stage.pacing import Pacing
from llm_ensemble.engine_stage.stream import Stream
from llm_ensemble.engines.protocol import Tokens
from llm_ensemble.postprocessing.postprocessor import Postprocessor

TOKENS = 2000


def calls(work):
    """Calls of functions, Python's and C's, while the work is done."""
    count = [0]

    def note(frame, event, argument):
        count[0] += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count[0]


class Never(Pacing):
    """Lets tokens gather until the end."""

    seconds = math.inf


def replay(stream, ids):
    for token_id in ids:
        stream.add(Tokens([token_id]))
    stream.add(Tokens([], "length"))


class Outlet:
    """Takes pulses and the end."""

    def pulse(self, pulse, *, last=False):
        pass

    def end(self, error=""):
        pass


class Reply:
    """Keeps the responses."""

    def __init__(self):
        self.texts = []

    def send(self, text, *, last):
        self.texts.append(text)


def chunks_of(text, ids, seconds=0.0):
    chunks = []
    pacing = Pacing(lambda: 1) if not seconds else Never(lambda: 1)
    request = Request(Sampling(max_tokens=9), text, math.inf)
    stream = Stream(StreamId(5), request, Outlet(), pacing)
    stream.claim(chunks.append)
    count = calls(lambda: replay(stream, ids))
    return chunks, count


def test_a_token_that_is_gathered_takes_few_calls():
    ids = [65 + i % 26 for i in range(TOKENS)]
    chunks, count = chunks_of(TextOptions(True, [], "", 2), ids, seconds=math.inf)
    assert len(chunks) == 2
    assert count / TOKENS < 9


def test_a_token_that_travels_alone_takes_two_dozen_calls():
    ids = [65 + i % 26 for i in range(TOKENS)]
    chunks, count = chunks_of(TextOptions(True, [], "", 2), ids)
    assert len(chunks) == TOKENS + 1
    assert count / TOKENS < 24


def test_text_of_gathered_tokens_takes_calls_for_each_chunk_and_none_for_a_token(byte_tokenizer):
    text = TextOptions(True, [], "", 2)
    ids = byte_tokenizer.encode("the quick brown fox " * (TOKENS // 20), add_special_tokens=False).ids
    together, _ = chunks_of(text, ids, seconds=math.inf)
    alone, _ = chunks_of(text, ids)
    made = {}
    for name, chunks in (("together", together), ("alone", alone)):
        post = Postprocessor(byte_tokenizer, print, print)
        reply = Reply()
        post.begin(StreamId(5), text, reply)
        made[name] = calls(lambda: [post.add(chunk) for chunk in chunks])  # noqa: B023
        assert "".join(one.sequences[0].text for one in reply.texts) == byte_tokenizer.decode(ids)
    assert made["together"] / len(ids) < 1
    assert made["alone"] / len(ids) < 44
