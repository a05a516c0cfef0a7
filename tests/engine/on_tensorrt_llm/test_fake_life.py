# SPDX-License-Identifier: Apache-2.0
"""The fake of tensorrt_llm over time: loops, aborts, load, failures, shutdown."""

import asyncio
import os
import time

import pytest

from tests.fakes.asking import PROMPT, finish, stream

FAIL, DIE = 778, 777


def test_without_a_loop_only_result_works(llm, params, greedy):
    assert llm.generate_async(PROMPT, params()).result(timeout=0.0).outputs[0].token_ids == greedy
    output = llm.generate_async(PROMPT, params())

    async def run():
        return await output

    with pytest.raises(AssertionError, match="loop"):
        asyncio.run(run())


def test_abort_ends_the_iteration_with_cancelled(llm, params):
    seen, output = stream(
        llm, params(max_tokens=400), at_step=lambda number, output: output.abort() if number == 3 else None
    )
    assert len(seen) < 400
    assert output.aborted()
    assert output.finished
    assert output.outputs[0].finish_reason == "cancelled"
    output.abort()  # logs a warning, no more


def test_a_waiting_request_can_be_aborted(llm, params):
    async def run():
        outputs = [llm.generate_async(PROMPT, params(max_tokens=400)) for _ in range(8)]
        for output in outputs:
            output.abort()
        return [(await output).outputs[0].finish_reason for output in outputs]

    assert asyncio.run(run()) == ["cancelled"] * 8


def test_no_more_than_max_batch_size_run_and_the_others_wait(start_llm, params, monkeypatch):
    llm = start_llm()
    monkeypatch.setenv("FAKE_TRTLLM_STEP_SECONDS", "0.03")
    assert llm.get_stats(timeout=5) == []  # at once: nothing was submitted

    async def run():
        await asyncio.gather(*(llm.generate_async(PROMPT, params()).aresult() for _ in range(20)))
        return [record async for record in llm.get_stats_async(timeout=0.1)]

    records = asyncio.run(run())
    assert max(record["numActiveRequests"] for record in records) == 4
    assert 16 <= max(record["numQueuedRequests"] for record in records) < 20
    assert sum(record["numCompletedRequests"] for record in records) == 20
    assert {"usedNumBlocks", "maxNumBlocks"} <= set(records[0]["kvCacheStats"])


def test_a_request_error_is_that_requests_alone(llm, params, monkeypatch):
    monkeypatch.setenv("FAKE_TRTLLM_FAIL_TOKEN", str(FAIL))

    async def run():
        output = llm.generate_async([*PROMPT, FAIL], params(), streaming=True)
        with pytest.raises(RuntimeError, match="FAKE_TRTLLM_FAIL_TOKEN"):
            await anext(output)
        return output

    assert asyncio.run(run()).finished is False
    assert finish(llm, params()).finished


def test_another_exception_is_the_end_of_the_llm(start_llm, params, monkeypatch):
    monkeypatch.setenv("FAKE_TRTLLM_DIE_TOKEN", str(DIE))
    llm = start_llm()

    async def run():
        other = llm.generate_async(PROMPT, params(max_tokens=400))
        with pytest.raises(MemoryError):
            await llm.generate_async([*PROMPT, DIE], params())
        with pytest.raises(MemoryError):
            await other
        with pytest.raises(RuntimeError, match="LLM is shutting down"):
            llm.generate_async(PROMPT, params())

    asyncio.run(run())
    llm.shutdown()


def test_a_silent_death_reaches_only_the_request_that_caused_it(start_llm, params, monkeypatch):
    monkeypatch.setenv("FAKE_TRTLLM_DIE_TOKEN", str(DIE))
    monkeypatch.setenv("FAKE_TRTLLM_DIE_SILENT", "1")
    llm = start_llm()

    async def run():
        other = llm.generate_async(PROMPT, params(max_tokens=400))
        with pytest.raises(MemoryError):
            await llm.generate_async([*PROMPT, DIE], params())
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(other.aresult(), 0.2)

    asyncio.run(run())


def test_the_environment_slows_each_step(llm, params, monkeypatch):
    monkeypatch.setenv("FAKE_TRTLLM_STEP_SECONDS", "0.05")
    begun = time.monotonic()
    finish(llm, params())
    assert time.monotonic() - begun >= 0.4


def test_shutdown_can_be_repeated_and_ends_the_service(start_llm, params):
    with start_llm() as llm:
        pass
    llm.shutdown()
    with pytest.raises(RuntimeError, match="LLM is shutting down"):
        llm.generate_async(PROMPT, params())


def test_the_engines_config_is_read_for_every_request(start_llm, params):
    llm = start_llm()
    os.remove(llm._folder / "config.json")
    with pytest.raises(FileNotFoundError):
        finish(llm, params())
