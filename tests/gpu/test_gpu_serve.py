# SPDX-License-Identifier: Apache-2.0
"""`serve` with vLLM: an engine process that is killed, and SIGTERM under load."""

import concurrent.futures
import os
import signal
import threading
import time

import pytest

from llm_ensemble_client import Client, ClientError
from tests.gpu.notes import crashes, note
from tests.processes import descendants
from tests.server.serving import FAILED, served

ENGINE_PROCESS = "EngineCore"  # how vLLM names it


@pytest.fixture
def ready(long_engine, tmp_path):
    began = time.monotonic()
    log = tmp_path / "log"
    with served(long_engine, log) as server:
        while " is ready: " not in log.read_text():
            time.sleep(0.02)
        note("serve: seconds to ready", time.monotonic() - began)
        server.log = log
        yield server


def stream(server, tokens, begun):
    """Return how many tokens a stream had, or its error. begun: released at the stream's first text."""
    with Client(f"grpc://{server.ports.grpc_netloc}", timeout=120, retries=False) as client:
        try:
            one = client.stream("The server", max_tokens=tokens, ignore_eos=True)
            for number, _ in enumerate(one):
                if not number:
                    begun.release()
            return one.completion.num_output_tokens
        except ClientError as error:
            return error


def begin(pool, number, server, tokens):
    """Start so many streams; return once each has had its first text."""
    begun = threading.Semaphore(0)
    streams = [pool.submit(stream, server, tokens, begun) for _ in range(number)]
    assert all(begun.acquire(timeout=60) for _ in streams)
    return streams


def test_a_killed_engine_process_ends_every_stream_by_an_error_and_serve_with_its_status(ready, long_tokens):
    processes = descendants(ready.process.pid)
    engines = [process for process in processes if ENGINE_PROCESS in process.command]
    assert engines, [process.command for process in processes]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        streams = begin(pool, 16, ready, long_tokens)
        killed = time.monotonic()
        for process in engines:
            os.kill(process.pid, signal.SIGKILL)
        ends = [one.result() for one in streams]
        note("kill -9 of the engine process: seconds until every stream had ended", time.monotonic() - killed)
    assert all(isinstance(end, ClientError) for end in ends), ends
    assert ready.process.wait(60) == FAILED, ready.log.read_text()[-3000:]
    note("kill -9 of the engine process: seconds until serve had ended", time.monotonic() - killed)
    deadline = time.monotonic() + 10
    while left := [process for process in processes if os.path.exists(f"/proc/{process.pid}")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_sigterm_under_load_lets_every_stream_end_and_stops_cleanly(ready, long_tokens):
    tokens = long_tokens // 4
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        streams = begin(pool, 32, ready, tokens)
        assert not any(one.done() for one in streams)
        began = time.monotonic()
        ready.process.send_signal(signal.SIGTERM)
        ends = [one.result() for one in streams]
        ended = time.monotonic()
    assert ready.process.wait(60) == 0, ready.log.read_text()[-3000:]
    note("SIGTERM under load: seconds until the streams had ended", ended - began)
    note(
        "SIGTERM under load: seconds from the last stream's end until serve had ended",
        time.monotonic() - ended,
    )
    assert ends == [tokens] * 32
    assert crashes(ready.log.read_text()) == []
