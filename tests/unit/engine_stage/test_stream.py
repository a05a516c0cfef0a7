# SPDX-License-Identifier: Apache-2.0
import math
import time

import pytest

from llm_ensemble.contract.request import (
    Part,
    Pulse,
    Request,
    TextOptions,
    pulse_from_wire,
    request_from_wire,
    to_wire,
)
from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.contract.stream_id import StreamId
from llm_ensemble.engine_stage.pacing import Pacing
from llm_ensemble.engine_stage.stream import AFTER_PULSE_SECONDS, CLAIM_SECONDS, PULSE_SECONDS, Stream
from llm_ensemble.engines.protocol import Tokens
from llm_ensemble.errors import INTERNAL_ERROR, EngineError, RequestError


@pytest.fixture
def clock(monkeypatch):
    """Time stands still until the test moves it: clock[0] is now."""
    now = [time.monotonic()]
    monkeypatch.setattr("llm_ensemble.engine_stage.stream.time.monotonic", lambda: now[0])
    return now


class Outlet:
    """Keeps what goes to Triton; refuses what comes after the end, as Triton does."""

    def __init__(self):
        self.pulses, self.error = [], None

    @property
    def is_ended(self):
        return self.error is not None

    def pulse(self, pulse):
        assert not self.is_ended
        self.pulses.append(pulse)

    def end(self, error=""):
        assert not self.is_ended
        self.error = error


def unclaimed(*, stream, sequences=1, stop_words=("x",), pause=0.0):
    """A stream and its outlet; pause: seconds between chunks that the cost of a response demands."""
    outlet = Outlet()
    text = TextOptions(stream, list(stop_words), "", 2, sequences)
    request = Request(Sampling(max_tokens=9), text, math.inf)
    return Stream(StreamId(5), request, outlet, Paced(pause)), outlet


def a_stream(**options):
    """A stream that is claimed, and where its chunks go."""
    chunks = []
    stream, _ = unclaimed(**options)
    stream.open()
    stream.claim(chunks.append)
    return stream, chunks


class Paced(Pacing):
    """One whose answer the test chooses."""

    def __init__(self, seconds):
        super().__init__(lambda: 1)
        self._seconds = seconds

    @property
    def seconds(self):
        return self._seconds


def sent(chunks):
    return [(chunk.parts, chunk.last) for chunk in chunks]


def test_a_record_survives_the_wire():
    sampling = Sampling(max_tokens=3, greedy=False, seed=2**64 - 1, bad_words=[[1, 2]], end_ids=[7])
    one = Request(sampling, TextOptions(True, ["é", ""], "a", 2), 1.5)
    array = to_wire(one)
    assert (array.dtype, array.ndim, array.shape[0]) == ("uint8", 2, 1)
    assert request_from_wire(array) == one
    pulse = Pulse(2**63, 3, one.text)
    assert pulse_from_wire(to_wire(pulse)) == pulse


def test_a_stream_s_first_token_goes_at_once_and_what_comes_before_its_time_is_gathered(clock):
    stream, chunks = a_stream(stream=True, pause=0.01)
    for token in (6, 7, 8):
        stream.add(Tokens([token]))
    clock[0] += 1
    stream.add(Tokens([9]))
    assert sent(chunks) == [([Part(0, [6])], False), ([Part(0, [7, 8, 9])], False)]


def test_while_sending_costs_nothing_each_token_goes_by_itself(clock):
    stream, chunks = a_stream(stream=True)
    for token in (6, 7, 8):
        stream.add(Tokens([token]))
    assert [chunk.parts[0].token_ids for chunk in chunks] == [[6], [7], [8]]


def test_the_last_token_goes_at_once_with_what_was_gathered(clock):
    stream, chunks = a_stream(stream=True, pause=0.01)
    stream.add(Tokens([6]))
    stream.add(Tokens([7], log_probs=[-1.0], top_ids=[7], top_log_probs=[-1.0]))
    stream.add(Tokens([8], "length", log_probs=[-2.0], top_ids=[9], top_log_probs=[-1.5]))
    assert sent(chunks)[1] == ([Part(0, [7, 8], "length", [-1.0, -2.0], [7, 9], [-1.0, -1.5])], True)
    assert stream.is_over


def test_a_unary_request_s_tokens_are_gathered_but_sent_now_and_then(clock):
    stream, chunks = a_stream(stream=False)
    stream.add(Tokens([6]))
    clock[0] += 0.5
    stream.add(Tokens([7]))
    stream.add(Tokens([8], "stop"))
    assert sent(chunks) == [([Part(0, [6, 7])], False), ([Part(0, [8], "stop")], True)]


@pytest.mark.parametrize(
    ("stop_words", "after", "chunks_then"), [(["x"], 0.05, 0), (["x"], 0.2, 1), ([], 9, 0)]
)
def test_without_stop_strings_a_unary_request_is_sent_once(clock, stop_words, after, chunks_then):
    stream, chunks = a_stream(stream=False, stop_words=stop_words)
    clock[0] += after
    stream.add(Tokens([6]))
    assert len(chunks) == chunks_then


def test_a_quiet_stream_shows_life_without_delaying_its_first_token(clock):
    stream, chunks = a_stream(stream=True)
    stream.send_due()
    assert chunks == []
    clock[0] += 0.5
    stream.send_due()
    stream.send_due()
    assert sent(chunks) == [([], False)]
    stream.add(Tokens([6]))
    assert sent(chunks)[1:] == [([Part(0, [6])], False)]


def test_what_is_due_does_not_wait_for_the_next_token(clock):
    stream, chunks = a_stream(stream=True, pause=0.01)
    stream.add(Tokens([6]))
    stream.add(Tokens([7]))
    clock[0] += 0.05
    stream.send_due()
    assert sent(chunks)[1:] == [([Part(0, [7])], False)]


def test_an_end_from_outside_is_the_last_and_what_the_engine_sends_then_is_dropped(clock):
    stream, chunks = a_stream(stream=True, pause=0.01)
    stream.add(Tokens([6]))
    stream.add(Tokens([7]))
    stream.end("timeout")
    stream.add(Tokens([8]))
    stream.add(Tokens([], "cancelled"))
    stream.send_due()
    stream.end("cancelled")
    assert sent(chunks)[1:] == [([Part(0, [7], "timeout")], True)]


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
    assert sent(chunks) == [([Part(1, [6], "stop")], False), ([Part(0, [7, 8], "length")], True)]


def test_a_cancelled_request_ends_the_sequences_that_go_on(clock):
    stream, chunks = a_stream(stream=True, sequences=3)
    stream.add(Tokens([6], "stop", index=1))
    stream.add(Tokens([], "cancelled"))
    assert sorted((p.index, p.finish) for p in chunks[-1].parts) == [(0, "cancelled"), (2, "cancelled")]
    assert chunks[-1].last


def test_tokens_wait_until_postprocessing_claims_the_stream(clock):
    stream, outlet = unclaimed(stream=True)
    stream.open()
    chunks = []
    for token in (6, 7):
        stream.add(Tokens([token]))
        stream.send_due()
    stream.claim(chunks.append)
    assert sent(chunks) == [([Part(0, [6, 7])], False)]
    stream.add(Tokens([8], "length"))
    assert sent(chunks)[1:] == [([Part(0, [8], "length")], True)]
    assert outlet.is_ended


def test_a_stream_that_ended_before_it_was_claimed_still_sends_all_and_then_ends(clock):
    stream, outlet = unclaimed(stream=False)
    stream.open()
    stream.add(Tokens([6], "stop"))
    assert (stream.is_over, stream.is_closed, outlet.is_ended) == (True, False, False)
    chunks = []
    stream.claim(chunks.append)
    assert sent(chunks) == [([Part(0, [6], "stop")], True)]
    assert (stream.is_closed, outlet.error) == (True, "")


def test_a_stream_that_nothing_claims_ends_with_an_error(clock):
    stream, outlet = unclaimed(stream=True)
    stream.open()
    stream.end("timeout")
    stream.send_due()
    assert not stream.is_closed
    clock[0] += CLAIM_SECONDS
    stream.send_due()
    assert (stream.is_closed, outlet.error) == (True, INTERNAL_ERROR)


def test_a_chunk_that_is_lost_ends_the_stream_with_an_error_and_not_with_a_gap(clock):
    stream, outlet = unclaimed(stream=True)
    stream.open()
    sends = iter([None, EngineError("postprocessing takes no messages")])

    def send(chunk):
        if error := next(sends):
            raise error

    stream.claim(send)
    for token in (6, 7, 8):
        stream.add(Tokens([token]))
    assert (stream.is_closed, outlet.error) == (True, INTERNAL_ERROR)


@pytest.mark.parametrize("error", [EngineError("it broke"), RequestError("guide", "takes too long")])
def test_an_error_is_told_when_the_stage_s_own_request_has_ended_and_no_pulse_is_on_its_way(clock, error):
    stream, outlet = unclaimed(stream=True)
    ended = []
    stream.open()
    stream.claim(lambda chunk: ended.append((chunk.last, outlet.is_ended)))
    clock[0] += PULSE_SECONDS
    stream.pulse_if_due()
    stream.add(Tokens([], error=error))
    assert (ended, outlet.is_ended, stream.is_closed) == ([], False, False)
    clock[0] += 2 * AFTER_PULSE_SECONDS
    stream.send_due()
    assert (ended, outlet.error, stream.is_closed) == ([(True, True)], "", True)


def test_pulses_come_now_and_then_until_the_end_the_first_with_the_options(clock):
    stream, outlet = unclaimed(stream=True)
    stream.pulse_if_due()
    assert outlet.pulses == []
    stream.open()
    stream.claim(lambda chunk: None)
    for _ in range(8):
        stream.pulse_if_due()
        clock[0] += PULSE_SECONDS / 2
    assert 4 <= len(outlet.pulses) <= 6
    assert [pulse.text is not None for pulse in outlet.pulses] == [True] + [False] * (len(outlet.pulses) - 1)
    stream.add(Tokens([6], "stop"))
    clock[0] += 9
    stream.pulse_if_due()
    assert outlet.is_ended


def test_a_stream_of_ensemble_unary_has_no_request_at_triton(clock):
    """ensemble_unary looks for its client by itself."""
    request = Request(Sampling(max_tokens=9), TextOptions(False, [], "", 2), math.inf)
    stream, chunks = Stream(StreamId(2**63), request, None, Paced(0)), []
    stream.claim(chunks.append)
    stream.open()
    clock[0] += 9
    stream.pulse_if_due()
    stream.send_due()
    stream.add(Tokens([8], "length"))
    assert sent(chunks) == [([Part(0, [8], "length")], True)]
    assert stream.is_closed
