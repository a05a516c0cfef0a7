# SPDX-License-Identifier: Apache-2.0
import pytest

from llm_ensemble.engines.base import Tokens
from llm_ensemble.errors import EngineError, Overloaded
from llm_ensemble.request import Request, TextOptions, chunk_from_wire, request_from_wire, to_wire
from llm_ensemble.sampling import Sampling
from llm_ensemble.stream import EngineStep


class CountingEngine:
    """An engine that counts up from the last input id, a token each time it is told to step."""

    def __init__(self, room=10):
        self.room, self.open, self.aborted = room, {}, []

    def submit(self, request, on_tokens):
        if len(self.open) >= self.room:
            raise Overloaded("Exceeds maximum queue size")
        self.open[request.request_id] = [request, on_tokens, 0]

    def step(self):
        for number, entry in list(self.open.items()):
            request, on_tokens, made = entry
            entry[2] = made + 1
            last = entry[2] == request.sampling.max_tokens
            if last:
                del self.open[number]
            on_tokens(Tokens([request.input_ids[-1] + made + 1], "length" if last else ""))

    def abort(self, number):
        self.aborted.append(number)


def request(stream, max_tokens=3):
    return Request(Sampling(max_tokens=max_tokens), TextOptions(stream, ["x"], "", 2))


def chunks_of_three_tokens(stream):
    """What is sent for a request that the engine continues by three tokens: 6, 7, 8."""
    engine, chunks = CountingEngine(), []
    EngineStep(engine).generate([1, 5], request(stream=stream), chunks.append)
    for _ in range(3):
        engine.step()
    return chunks


def test_a_record_survives_the_wire():
    one = Request(Sampling(max_tokens=3, greedy=False, seed=2**64 - 1), TextOptions(True, ["é", ""], "a", 2))
    array = to_wire(one)
    assert (array.dtype, array.ndim, array.shape[0]) == ("uint8", 2, 1)
    assert request_from_wire(array) == one


def test_a_stream_s_first_token_goes_at_once_and_what_comes_faster_than_reading_is_gathered(monkeypatch):
    monkeypatch.setattr("llm_ensemble.stream.STREAM_SECONDS", 60.0)
    chunks = chunks_of_three_tokens(stream=True)
    assert [(c.sequence, c.token_ids, c.finish) for c in chunks] == [(0, [6], ""), (1, [7, 8], "length")]


def test_streamed_chunks_are_numbered_and_only_the_first_has_the_text_options(monkeypatch):
    monkeypatch.setattr("llm_ensemble.stream.STREAM_SECONDS", 0.0)
    chunks = chunks_of_three_tokens(stream=True)
    assert [(c.sequence, c.token_ids, c.finish) for c in chunks] == [
        (0, [6], ""),
        (1, [7], ""),
        (2, [8], "length"),
    ]
    assert [c.text is not None for c in chunks] == [True, False, False]
    assert chunk_from_wire(to_wire(chunks[0])) == chunks[0]


def test_a_plain_request_s_tokens_are_gathered():
    chunks = chunks_of_three_tokens(stream=False)
    assert [(c.sequence, c.token_ids, c.finish) for c in chunks] == [(0, [6, 7, 8], "length")]


def test_a_plain_request_s_chunk_travels_now_and_then(monkeypatch):
    monkeypatch.setattr("llm_ensemble.stream.GATHER_SECONDS", 0.0)
    chunks = chunks_of_three_tokens(stream=False)
    assert len(chunks) == 3


def test_each_request_has_a_number_of_its_own_and_can_be_aborted_by_it():
    engine, chunks = CountingEngine(), []
    step = EngineStep(engine)
    for _ in range(3):
        step.generate([1], request(stream=True, max_tokens=1), chunks.append)
    engine.step()
    numbers = [c.stream for c in chunks]
    assert len(set(numbers)) == 3
    step.abort(numbers[1])
    assert engine.aborted == [numbers[1]]


def test_a_refused_request_raises_and_sends_nothing():
    chunks = []
    with pytest.raises(Overloaded, match="Exceeds maximum queue size"):
        EngineStep(CountingEngine(room=0)).generate([1], request(stream=True), chunks.append)
    assert chunks == []


def test_the_engine_s_error_is_the_last_chunk():
    class Failing(CountingEngine):
        def step(self):
            for _, on_tokens, _ in self.open.values():
                on_tokens(Tokens([], error=EngineError("out of cache")))

    engine, chunks = Failing(), []
    EngineStep(engine).generate([1], request(stream=False), chunks.append)
    engine.step()
    assert [(c.error, c.finish) for c in chunks] == [("out of cache", "")]
