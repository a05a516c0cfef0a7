# SPDX-License-Identifier: Apache-2.0
import concurrent.futures
import contextlib
import time

import pytest

from llm_ensemble.contract.request import Refusal, Request, Submission, TextOptions
from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.contract.stream_id import StreamId
from llm_ensemble.engine_stage.stage import EngineStage
from llm_ensemble.engines.protocol import Tokens
from llm_ensemble.errors import EngineError, Overloaded, RequestError
from tests.waiting import SECONDS, wait_for


class CountingEngine:
    """An engine that counts up from the last input id, a token each time it is told to step."""

    failed = False

    def __init__(self, room=10):
        self.room, self.open, self.aborted, self.labels, self.closed = room, {}, [], [], False

    def submit(self, request, on_tokens):
        if len(self.open) >= self.room:
            raise Overloaded("10 running, 0 waiting")
        self.labels.append(request.label)
        self.open[request.stream_id] = [request, on_tokens, 0]

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
        if entry := self.open.pop(number, None):
            entry[1](Tokens([], "cancelled"))

    def close(self):
        self.closed = True


class Outlet:
    """A request at Triton, whose first pulse makes postprocessing claim the stream."""

    def __init__(self, step, take=lambda chunk: None):
        self.step, self.take, self.is_ended = step, take, False

    def pulse(self, pulse):
        if pulse.text:
            self.step.claim(pulse.stream, self.take)

    def end(self, error=""):
        self.is_ended = True


class Step(EngineStage):
    """One whose streams are claimed immediately by what takes their chunks."""

    def generate(self, input_ids, request, take, **options):
        super().generate(input_ids, request, Outlet(self, take), **options)


@contextlib.contextmanager
def a_step(engine, **options):
    step = Step(engine, **options)
    yield step
    step.close()
    assert engine.closed


def request(max_tokens=3, seconds=60.0):
    return Request(
        Sampling(max_tokens=max_tokens), TextOptions(True, ["x"], "", 2), time.monotonic() + seconds
    )


def test_each_request_has_an_id_of_its_own_and_is_forgotten_when_it_has_ended():
    engine, chunks = CountingEngine(), []
    with a_step(engine) as step:
        for _ in range(3):
            step.generate([1], request(max_tokens=1), chunks.append)
        assert step.open == 3
        engine.step()
        assert len({chunk.stream for chunk in chunks}) == 3
        assert (step.open, [chunk.last for chunk in chunks]) == (0, [True] * 3)


def submission(number=2**63, **options):
    return Submission(number, 0, [1], request(**options), "mine")


def test_a_request_of_ensemble_unary_keeps_its_id_and_needs_no_claim():
    engine, chunks = CountingEngine(), []
    with a_step(engine) as step:
        step.submit(submission(max_tokens=2), chunks.append)
        assert (list(engine.open), engine.labels) == ([2**63], ["mine"])
        step.claim(2**63, lambda chunk: None)  # by anyone else: it changes nothing
        engine.step()
        engine.step()
        assert [(chunk.stream, chunk.last) for chunk in chunks if chunk.parts][-1] == (2**63, True)
        assert step.open == 0


def test_one_whose_id_is_in_use_ends_with_an_error_and_the_first_goes_on():
    engine, chunks, seconds = CountingEngine(), [], []
    with a_step(engine) as step:
        step.submit(submission(max_tokens=1), chunks.append)
        step.submit(submission(), seconds.append)
        engine.step()
    assert [(chunk.last, chunk.error) for chunk in seconds] == [(True, f"stream {2**63} began before")]
    assert [(chunk.last, chunk.error) for chunk in chunks] == [(True, "")]


@pytest.mark.parametrize(
    "error", [RequestError("bad_words", "not here: leave it out"), Overloaded("4 running, 2 waiting")]
)
def test_why_the_engine_rejects_a_request_of_ensemble_unary_comes_back_as_it_was(error):
    engine, chunks = CountingEngine(), []

    def reject(*_):
        raise error

    engine.submit = reject
    with a_step(engine) as step:
        step.submit(submission(), chunks.append)
        assert step.open == 0
    (chunk,) = chunks
    assert (chunk.last, chunk.refusal) == (True, Refusal.of(error))
    assert (type(chunk.refusal.error), str(chunk.refusal.error)) == (type(error), str(error))


@pytest.mark.parametrize(("error", "text"), [(EngineError("closed"), "closed"), (KeyError(), "KeyError")])
def test_a_request_of_ensemble_unary_that_fails_at_once_has_an_end(error, text, caplog):
    engine, chunks = CountingEngine(), []

    def fail(*_):
        raise error

    engine.submit = fail
    with a_step(engine) as step:
        step.submit(submission(), chunks.append)
    assert [(chunk.last, chunk.error) for chunk in chunks] == [(True, text)]
    assert ("Traceback" in caplog.text) == (type(error) is KeyError)


def test_closing_lets_the_requests_of_ensemble_unary_end():
    """They hold no request at Triton, which waits for all others before it closes the stage."""
    engine, chunks = CountingEngine(), []
    step = Step(engine)
    step.submit(submission(max_tokens=1), chunks.append)
    with concurrent.futures.ThreadPoolExecutor() as threads:
        closing = threads.submit(step.close)
        time.sleep(0.2)
        assert not engine.closed
        engine.step()
        closing.result(SECONDS)
    assert [part.finish for chunk in chunks for part in chunk.parts] == ["length"]
    assert engine.closed


def test_an_aborted_request_ends_at_once_in_the_engine_too():
    engine, chunks = CountingEngine(), []
    with a_step(engine) as step:
        for _ in range(3):
            step.generate([1], request(), chunks.append)
        engine.step()
        second = chunks[1].stream
        step.abort(second)
        step.abort(second)
        step.abort(12345)
        assert engine.aborted == [second]
        assert [(p.index, p.finish) for p in chunks[-1].parts] == [(0, "cancelled")]
        assert (step.open, len(chunks)) == (2, 4)


def test_a_refused_request_raises_and_leaves_nothing():
    chunks = []
    with a_step(CountingEngine(room=0)) as step:
        with pytest.raises(Overloaded, match="^Exceeds maximum queue size: 10 running"):
            step.generate([1], request(), chunks.append)
        assert (chunks, step.open) == ([], 0)


def test_a_request_ends_by_its_deadline_though_the_engine_does_nothing():
    engine, chunks = CountingEngine(), []
    with a_step(engine) as step:
        started = time.monotonic()
        step.generate([1], request(seconds=0.2), chunks.append)
        wait_for(lambda: step.open == 0)
        assert time.monotonic() >= started + 0.15
        assert [(p.index, p.finish) for p in chunks[-1].parts] == [(0, "timeout")]
        assert engine.aborted == [chunks[-1].stream]


def test_a_deadline_that_has_passed_already_ends_the_request():
    chunks = []
    with a_step(CountingEngine()) as step:
        step.generate([1], request(seconds=-1), chunks.append)
        wait_for(lambda: step.open == 0)
        assert chunks[-1].parts[0].finish == "timeout"


def test_a_request_the_engine_has_nothing_for_shows_life():
    chunks = []
    with a_step(CountingEngine()) as step:
        step.generate([1], request(), chunks.append)
        wait_for(lambda: chunks)
        assert (chunks[0].parts, chunks[0].last) == ([], False)


def test_a_claim_of_a_stream_that_is_gone_gets_an_end():
    chunks = []
    with a_step(CountingEngine()) as step:
        step.claim(5, chunks.append)
    assert [(chunk.stream, chunk.last, bool(chunk.error)) for chunk in chunks] == [(5, True, True)]


def test_a_second_claim_gets_an_end_and_the_first_keeps_the_stream():
    engine, first, second = CountingEngine(), [], []
    with a_step(engine) as step:
        step.generate([1], request(max_tokens=1), first.append)
        (stream_id,) = engine.open
        step.claim(stream_id, second.append)
        engine.step()
    assert [(chunk.last, bool(chunk.error)) for chunk in second] == [(True, True)]
    assert [(chunk.last, bool(chunk.parts)) for chunk in first] == [(True, True)]


def test_a_request_whose_first_pulse_fails_leaves_nothing():
    engine = CountingEngine()
    with a_step(engine) as step:
        outlet = Outlet(step)
        outlet.pulse = lambda pulse: 1 / 0
        with pytest.raises(ZeroDivisionError):
            EngineStage.generate(step, [1], request(), outlet)
        assert (step.open, engine.open, len(engine.aborted)) == (0, {}, 1)


def test_a_sender_that_fails_does_not_stop_the_clock(caplog):
    def fail(chunk):
        raise ValueError("the sender broke")

    chunks = []
    with a_step(CountingEngine()) as step:
        step.generate([1], request(seconds=0.1), fail)
        step.generate([1], request(seconds=0.2), chunks.append)
        wait_for(lambda: step.open == 0)
        assert chunks[-1].parts[0].finish == "timeout"
    assert "the sender broke" in caplog.text


def test_the_log_s_name_for_a_request_is_the_client_s_or_its_number():
    engine = CountingEngine()
    with a_step(engine) as step:
        step.generate([1], request(), print, label="mine")
        step.generate([1], request(), print)
    assert engine.labels == ["mine", "#2"]


def test_a_dead_engine_is_given_up_once_every_stream_has_had_its_end():
    engine, given_up = CountingEngine(), []
    with a_step(engine, give_up=lambda: given_up.append(1)) as step:
        step.generate([1], request(), lambda chunk: None)
        engine.failed = True
        time.sleep(0.15)
        assert given_up == []
        engine.step(), engine.step(), engine.step()
        wait_for(lambda: given_up)
        assert engine.closed
    assert given_up == [1]


def test_several_instances_number_their_streams_differently():
    numbers = []
    for instance in range(2):
        engine = CountingEngine()
        with a_step(engine, instance=instance) as step:
            step.generate([1], request(max_tokens=1), lambda chunk: numbers.append(chunk.stream))
            engine.step()
    assert [StreamId(number).instance for number in numbers] == [0, 1]
