# SPDX-License-Identifier: Apache-2.0
"""How much Python runs for a token: calls of a fixed replay, which no other work of the machine changes.

Seen on Python 3.11: 5, 20, 5, 0.1 and 36. Who needs a few more may raise a number; it is there so that nobody
does unseen.
"""

import asyncio
import math
import sys
from types import SimpleNamespace

from llm_ensemble.contract.request import Request, TextOptions
from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.contract.stream_id import StreamId
from llm_ensemble.engine_stage.pacing import Pacing
from llm_ensemble.engine_stage.stream import Stream
from llm_ensemble.engines.protocol import Tokens
from llm_ensemble.engines.vllm.hand_over import HandOver
from llm_ensemble.engines.vllm.token_sink import take_plain_tokens
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

    def pulse(self, pulse):
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
    assert count / TOKENS < 7


def test_a_token_that_travels_alone_takes_two_dozen_calls():
    ids = [65 + i % 26 for i in range(TOKENS)]
    chunks, count = chunks_of(TextOptions(True, [], "", 2), ids)
    assert len(chunks) == TOKENS + 1
    assert count / TOKENS < 24


def test_a_token_of_vllm_s_that_waits_for_those_of_the_next_steps_takes_few_calls():
    requests, steps = 100, 20
    loop = asyncio.new_event_loop()
    hand_over = HandOver(loop, lambda key, news: None)
    states = {
        str(i): SimpleNamespace(queue=SimpleNamespace(key=i), request_index=0, is_prefilling=False)
        for i in range(requests)
    }
    processor = SimpleNamespace(request_states=states, process_outputs=lambda others: others)
    take_plain_tokens(SimpleNamespace(output_processor=processor), hand_over.put_plain)
    outputs = [
        [SimpleNamespace(request_id=name, new_token_ids=[step], finish_reason=None) for name in states]
        for step in range(steps)
    ]
    count = calls(lambda: [processor.process_outputs(step) for step in outputs])
    hand_over.close(10)
    loop.close()
    assert hand_over._gathered[7] == [Tokens([*range(steps)])]
    assert count / requests / steps < 7


def test_text_of_gathered_tokens_takes_calls_for_each_chunk_and_none_for_a_token(byte_tokenizer):
    text = TextOptions(True, [], "", 2)
    ids = byte_tokenizer.encode("the quick brown fox " * (TOKENS // 20), add_special_tokens=False).ids
    together, _ = chunks_of(text, ids, seconds=math.inf)
    alone, _ = chunks_of(text, ids)
    made = {}
    for name, chunks in (("together", together), ("alone", alone)):
        post = Postprocessor(byte_tokenizer, print)
        reply = Reply()
        post.begin(StreamId(5), text, reply)
        made[name] = calls(lambda: [post.add(chunk) for chunk in chunks])  # noqa: B023
        assert "".join(one.sequences[0].text for one in reply.texts) == byte_tokenizer.decode(ids)
    assert made["together"] / len(ids) < 1
    assert made["alone"] / len(ids) < 44
