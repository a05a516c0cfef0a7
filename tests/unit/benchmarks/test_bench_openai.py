# SPDX-License-Identifier: Apache-2.0
"""The driver for OpenAI's completions API, on a strict stand-in of such a server."""

import asyncio
import subprocess
import sys
import time

import pytest

from benchmarks.bench.driver import Target
from benchmarks.bench.openai import first_model, shared_out
from benchmarks.bench.record import BenchError, Record, Request
from serving.tritonserver import ROOT
from tests.fakes.openai_server import MODEL, TROUBLE


@pytest.fixture(scope="module")
def address():
    command = [sys.executable, "-m", "tests.fakes.openai_server"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        yield f"127.0.0.1:{process.stdout.readline().strip()}"
        process.kill()


def ask(address, prompt, tokens=12, stream=True, model=MODEL):
    async def once():
        driver = await Target("theirs", "openai", address, stream, model).open()
        record = Record(time.monotonic())
        try:
            await driver.ask(Request(prompt, tokens), record)
        finally:
            await driver.close()
        return record

    return asyncio.run(once())


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_are_counted_by_the_usage_not_by_the_events(address, stream):
    record = ask(address, "four words of text", 12, stream)
    assert (record.tokens, record.input_tokens) == (12, 4)
    assert len(record.arrivals) == (5 if stream else 1), "1, 3, 3, 3 and 2 tokens to an event"
    assert record.ended == record.arrivals[-1][0] > record.started


@pytest.mark.parametrize("trouble", TROUBLE)
def test_a_stream_that_is_not_whole_is_a_failure(address, trouble):
    with pytest.raises(BenchError, match="EngineCore died" if trouble == "failed" else "without its usage"):
        ask(address, trouble)


def test_a_refusal_is_told(address):
    with pytest.raises(BenchError, match="does not exist"):
        ask(address, "text", model="another")


def test_the_first_model_of_a_server_is_asked_for(address):
    assert first_model(address) == MODEL
    with pytest.raises(BenchError, match="does not tell its models"):
        first_model("127.0.0.1:9")


@pytest.mark.parametrize(
    ("lengths", "tokens", "counts"),
    [
        ([5], 9, [9]),
        ([5, 1, 9], 3, [1, 1, 1]),
        ([4, 8, 16, 8], 9, [1, 2, 4, 2]),
        ([4, 100, 1, 1], 5, [1, 2, 1, 1]),  # at least one each
        ([0, 0, 0], 5, [1, 3, 1]),  # without any text
        ([3, 3, 0], 2, [1, 1]),  # the last had none
        ([3, 3], 0, []),
    ],
)
def test_tokens_are_shared_out_among_events_by_their_texts(lengths, tokens, counts):
    events = [(float(i), length) for i, length in enumerate(lengths)]
    assert [count for _, count in shared_out(events, tokens) if count] == counts
    assert sum(counts) == tokens
