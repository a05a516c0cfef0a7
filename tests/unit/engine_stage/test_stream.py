# SPDX-License-Identifier: Apache-2.0
import math
import time

import pytest

from llm_ensemble.contract.request import (
    Chunk,
    Part,
    Request,
    TextOptions,
    chunk_from_wire,
    request_from_wire,
    to_wire,
)
from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.contract.stream_id import StreamId
from llm_ensemble.engine_stage.pacing import Pacing, min_seconds
from llm_ensemble.engine_stage.stream import Stream
from llm_ensemble.engines.protocol import Tokens
from llm_ensemble.errors import EngineError


@pytest.fixture
def clock(monkeypatch):
    """Time stands still until the test moves it: clock[0] is now."""
    now = [time.monotonic()]
    monkeypatch.setattr("llm_ensemble.engine_stage.stream.time.monotonic", lambda: now[0])
    return now


def a_stream(*, stream, sequences=1, stop_words=("x",), pause=0.0, is_watched=False):
    """A stream and where its chunks go; pause: seconds between them that sending's cost demands."""
    chunks = []
    text = TextOptions(stream, list(stop_words), "", 2, sequences)
    request = Request(Sampling(max_tokens=9), text, math.inf)
    gather = min_seconds(text, is_watched=is_watched)
    return Stream(StreamId(5), request, chunks.append, Paced(pause), gather), chunks


class Paced(Pacing):
    """One whose answer the test chooses."""

    def __init__(self, seconds):
        super().__init__(lambda: 1)
        self._seconds = seconds

    @property
    def seconds(self):
        return self._seconds


def sent(chunks):
    return [(chunk.number, chunk.parts, chunk.last) for chunk in chunks]


def test_a_record_survives_the_wire():
    sampling = Sampling(max_tokens=3, greedy=False, seed=2**64 - 1, bad_words=[[1, 2]], end_ids=[7])
    one = Request(sampling, TextOptions(True, ["é", ""], "a", 2), 1.5)
    array = to_wire(one)
    assert (array.dtype, array.ndim, array.shape[0]) == ("uint8", 2, 1)
    assert request_from_wire(array) == one
    chunk = Chunk(2**63, 0, [Part(1, [5], "stop", [-0.5])], True, "", one.text)
    assert chunk_from_wire(to_wire(chunk)) == chunk


def test_a_stream_s_first_token_goes_at_once_and_what_comes_before_its_time_is_gathered(clock):
    stream, chunks = a_stream(stream=True, pause=0.01)
    for token in (6, 7, 8):
        stream.add(Tokens([token]))
    clock[0] += 1
    stream.add(Tokens([9]))
    assert sent(chunks) == [(0, [Part(0, [6])], False), (1, [Part(0, [7, 8, 9])], False)]
    assert [chunk.text is not None for chunk in chunks] == [True, False]


def test_while_sending_costs_nothing_each_token_goes_by_itself(clock):
    stream, chunks = a_stream(stream=True)
    for token in (6, 7, 8):
        stream.add(Tokens([token]))
    assert [chunk.parts[0].token_ids for chunk in chunks] == [[6], [7], [8]]


def test_the_last_token_goes_at_once_with_what_was_gathered(clock):
    stream, chunks = a_stream(stream=True, pause=0.01)
    stream.add(Tokens([6]))
    stream.add(Tokens([7], log_probs=[-1.0]))
    stream.add(Tokens([8], "length", log_probs=[-2.0]))
    assert sent(chunks)[1] == (1, [Part(0, [7, 8], "length", [-1.0, -2.0])], True)
    assert stream.is_over


def test_a_unary_request_s_tokens_are_gathered_but_sent_now_and_then(clock):
    stream, chunks = a_stream(stream=False)
    stream.add(Tokens([6]))
    clock[0] += 0.5
    stream.add(Tokens([7]))
    stream.add(Tokens([8], "stop"))
    assert sent(chunks) == [(0, [Part(0, [6, 7])], False), (1, [Part(0, [8], "stop")], True)]


@pytest.mark.parametrize(
    ("stop_words", "after", "chunks_then"), [(["x"], 0.2, 1), ([], 0.2, 0), ([], 0.5, 1)]
)
def test_without_stop_strings_a_unary_request_is_sent_as_seldom_as_a_disconnect_may_go_unseen(
    clock, stop_words, after, chunks_then
):
    stream, chunks = a_stream(stream=False, stop_words=stop_words)
    clock[0] += after
    stream.add(Tokens([6]))
    assert len(chunks) == chunks_then


@pytest.mark.parametrize("streamed", [True, False])
def test_a_quiet_stream_shows_life_without_delaying_its_first_token(clock, streamed):
    stream, chunks = a_stream(stream=streamed)
    stream.send_due()
    assert chunks == []
    clock[0] += 0.5
    stream.send_due()
    stream.send_due()
    assert sent(chunks) == [(0, [], False)]
    stream.add(Tokens([6]))
    assert sent(chunks)[1:] == [(1, [Part(0, [6])], False)]


def test_what_is_due_does_not_wait_for_the_next_token(clock):
    stream, chunks = a_stream(stream=True, pause=0.01)
    stream.add(Tokens([6]))
    stream.add(Tokens([7]))
    clock[0] += 0.05
    stream.send_due()
    assert sent(chunks)[1:] == [(1, [Part(0, [7])], False)]


def test_an_end_from_outside_is_the_last_and_what_the_engine_sends_then_is_dropped(clock):
    stream, chunks = a_stream(stream=True, pause=0.01)
    stream.add(Tokens([6]))
    stream.add(Tokens([7]))
    stream.end("timeout")
    stream.add(Tokens([8]))
    stream.add(Tokens([], "cancelled"))
    stream.send_due()
    stream.end("cancelled")
    assert sent(chunks)[1:] == [(1, [Part(0, [7], "timeout")], True)]


def test_the_engine_s_error_is_the_last_chunk(clock):
    stream, chunks = a_stream(stream=False)
    stream.add(Tokens([], error=EngineError("out of cache")))
    assert [(chunk.error, chunk.last) for chunk in chunks] == [("out of cache", True)]


def test_several_sequences_end_one_by_one(clock):
    stream, chunks = a_stream(stream=True, sequences=2, pause=0.01)
    stream.add(Tokens([6], "stop", index=1))
    assert not stream.is_over
    stream.add(Tokens([7], index=0))
    stream.add(Tokens([8], "length", index=0))
    assert sent(chunks) == [(0, [Part(1, [6], "stop")], False), (1, [Part(0, [7, 8], "length")], True)]


def test_a_cancelled_request_ends_the_sequences_that_go_on(clock):
    stream, chunks = a_stream(stream=True, sequences=3)
    stream.add(Tokens([6], "stop", index=1))
    stream.add(Tokens([], "cancelled"))
    assert sorted((p.index, p.finish) for p in chunks[-1].parts) == [(0, "cancelled"), (2, "cancelled")]
    assert chunks[-1].last


def test_a_unary_request_that_ensemble_unary_watches_is_sent_once(clock):
    """ensemble_unary forwarded it, and checks for a client disconnect by itself."""
    stream, chunks = a_stream(stream=False, stop_words=[], is_watched=True)
    for token in (6, 7):
        clock[0] += 10
        stream.add(Tokens([token]))
        stream.send_due()
    assert chunks == []
    stream.add(Tokens([8], "length"))
    assert sent(chunks) == [(0, [Part(0, [6, 7, 8], "length")], True)]
