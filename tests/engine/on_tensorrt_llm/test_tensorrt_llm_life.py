# SPDX-License-Identifier: Apache-2.0
"""The tensorrt_llm engine when a part stalls or dies: statistics, a callback, a worker, the shutdown."""

import threading

import numpy as np
import pytest

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.protocol import GenerationRequest
from llm_ensemble.engines.tensorrt_llm import engine as adapter
from llm_ensemble.errors import EngineError
from tests.engine.submitted import PROMPT, Submitted, loaded
from tests.fake_engine import fake_checkpoint, fake_engine
from tests.fakes import NEWER, VERSION, tensorrt_llm_imported
from tests.waiting import wait_for

ASSERT, KILL = 4002, 4003  # token ids that make the fake do so


@pytest.fixture(scope="module")
def kind():
    return "tensorrt_llm"


@pytest.fixture
def start_of(monkeypatch):
    """Start engines of any directory; the fake's steps take 5 ms, so that requests are open for a while."""
    monkeypatch.setenv("FAKE_TRTLLM_STEP_SECONDS", "0.005")
    monkeypatch.setenv("FAKE_TRTLLM_ASSERT_TOKEN", str(ASSERT))
    monkeypatch.setenv("FAKE_TRTLLM_KILL_TOKEN", str(KILL))
    monkeypatch.setattr(adapter, "SHUTDOWN_SECONDS", 2)
    engines = []

    def start_of(folder):
        engines.append(loaded(folder))
        return engines[-1]

    yield start_of
    for engine in engines:
        closed(engine)


def closed(engine):
    """Close an engine; fail, instead of hanging, if close() does not return."""
    closing = threading.Thread(target=engine.close, daemon=True)
    closing.start()
    closing.join(60)
    assert not closing.is_alive(), "close() does not return"


def test_statistics_that_hang_hold_up_no_request(start_of, engine_dir, monkeypatch):
    """The library waits for its worker in the calling thread."""
    engine = start_of(engine_dir)
    assert len(Submitted(engine, 1, max_tokens=2).ids()) == 2
    monkeypatch.setenv("FAKE_TRTLLM_STATS_HANG", "1")
    assert len(Submitted(engine, 2, max_tokens=400).ids()) == 400


def test_an_assertion_about_one_response_ends_that_request_alone(start_of, engine_dir):
    engine = start_of(engine_dir)
    neighbour = Submitted(engine, 1, max_tokens=50)
    (failed,) = Submitted(engine, 2, [*PROMPT, ASSERT]).rest()
    assert isinstance(failed.error, EngineError)
    assert len(neighbour.ids()) == 50
    assert not engine.failed
    assert Submitted(engine, 3, max_tokens=2).rest()[-1].finish == "length"


def test_a_prompt_that_the_library_refuses_by_an_assertion_ends_that_request_alone(start_of, engine_dir):
    """It refuses numpy's ints; read_engine_request makes Python's."""
    engine = start_of(engine_dir)
    (failed,) = Submitted(engine, 1, list(np.array(PROMPT))).rest()
    assert isinstance(failed.error, EngineError)
    assert Submitted(engine, 2, max_tokens=2).rest()[-1].finish == "length"


@pytest.mark.parametrize("asked_after", [False, True])
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_killed_worker_ends_every_open_request_and_the_engine(
    start_of, demo_engine, engine_dir, tmp_path, caplog, ranks, asked_after
):
    """1.2 does not report it. The next request runs its shutdown, which waits forever for a second worker."""
    engine = start_of(fake_engine(demo_engine, tmp_path / "engine", ranks=ranks))
    open_ = [Submitted(engine, i, max_tokens=400) for i in range(3)]
    open_[0].next()
    open_.append(Submitted(engine, 8, [*PROMPT, KILL]))
    if asked_after:
        wait_for(lambda: any(future.done() for future in engine._llm._executor.mpi_futures))
        open_.append(Submitted(engine, 9))
    assert all(isinstance(one.rest()[-1].error, EngineError) for one in open_)
    wait_for(lambda: engine.failed)
    with pytest.raises(EngineError, match="the engine failed"):
        Submitted(engine, 10)
    assert "the engine failed; every open request ends" in caplog.text
    assert (engine.stats().running, engine.stats().waiting) == (0, 0)
    closed(engine)


def test_the_loop_still_runs_while_the_library_shuts_down_with_open_requests(start_of, engine_dir, caplog):
    engine = start_of(engine_dir)
    open_ = [Submitted(engine, i, max_tokens=400) for i in range(40)]
    open_[0].next()
    llm = engine._llm
    closed(engine)
    assert {one.rest()[-1].finish for one in open_} == {"cancelled"}
    assert llm._executor is None, "the library was not shut down"
    assert "its loop is gone" not in caplog.text


def test_a_callback_that_stalls_holds_up_neither_others_nor_aborts(start_of, engine_dir):
    engine = start_of(engine_dir)
    going_on, received = threading.Event(), []

    def stall(tokens):
        going_on.wait(60)
        received.append(tokens)

    engine.submit(GenerationRequest(1, PROMPT, Sampling(max_tokens=30)), stall)
    assert len(Submitted(engine, 2, max_tokens=100).ids()) == 100
    aborted = Submitted(engine, 3, max_tokens=400)
    aborted.next()
    engine.abort(3)
    assert aborted.rest()[-1].finish == "cancelled"
    going_on.set()
    wait_for(lambda: received and received[-1].finish)
    assert sum(len(tokens.token_ids) for tokens in received) == 30
    assert [tokens.finish for tokens in received[:-1]] == [""] * (len(received) - 1)


@pytest.mark.parametrize("version", [VERSION, NEWER])
def test_a_killed_worker_of_the_pytorch_backend_on_each_release(
    start_of, demo_engine, tmp_path, monkeypatch, version
):
    monkeypatch.setenv("FAKE_TRTLLM_IR", str(demo_engine / "engine"))
    with tensorrt_llm_imported(version):
        engine = start_of(fake_checkpoint(demo_engine, tmp_path / "checkpoint"))
        open_ = [Submitted(engine, 1, max_tokens=400), Submitted(engine, 2, [*PROMPT, KILL])]
        assert all(isinstance(one.rest()[-1].error, EngineError) for one in open_)
        wait_for(lambda: engine.failed)
        closed(engine)
