# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's AIPerf against the frontend, beside a reader of ours and the server's log: make clients-test.

Prints when each saw the first token. That is not tested: other programs may take the machine meanwhile.
docs/clients.md has the figures of a run.
"""

import itertools
import json
import statistics
import sys
import threading
import time

import pytest

from tests.clients.running import CLIENTS, output
from tests.openai.frontend import MESSAGES, MODEL, PROMPT, frontend_of

AIPERF = CLIENTS / "bin/aiperf"
REQUESTS, TOKENS_IN, TOKENS_OUT = 40, 50, 12
STEP_SECONDS = 0.05  # of a model that is worth measuring
LIMITS = {"model": MODEL, "stream": True, "max_tokens": TOKENS_OUT, "ignore_eos": True}
CALLS = {
    "chat": ("/v1/chat/completions", {**LIMITS, "messages": MESSAGES}),
    "completions": ("/v1/completions", {**LIMITS, "prompt": PROMPT}),
}

pytestmark = pytest.mark.skipif(not AIPERF.exists(), reason="AIPerf needs Python 3.11 or newer")


@pytest.fixture(scope="module")
def measured(chat_engine, tmp_path_factory):
    """A frontend whose server logs each request as JSON."""
    folder = tmp_path_factory.mktemp("measured")
    with frontend_of(chat_engine, folder, TAP_STEP_SECONDS=STEP_SECONDS, LOG_FORMAT="json") as frontend:
        yield frontend


class Reader(threading.Thread):
    """A client that does nothing but read when the first text comes, one request after another."""

    def __init__(self, frontend, path, body):
        super().__init__()
        self._frontend, self._path, self._body = frontend, path, body
        self._ended = threading.Event()
        self.seen = {}  # by request id: when it was sent (ns since 1970), and until the first text (ms)

    def run(self):
        for number in itertools.count():
            if self._ended.is_set():
                return
            name = f"ours-{time.time_ns()}-{number}"
            sent, started = time.time_ns(), time.perf_counter()
            connection = self._frontend.begin(self._path, self._body, **{"x-request-id": name})
            answer = connection.getresponse()
            answer.read1()
            self.seen[name] = sent, (time.perf_counter() - started) * 1000
            answer.read()
            connection.close()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception):
        self._ended.set()
        self.join()


def logged(frontend):
    """The server's line about each request, by the id that the client gave it."""
    lines = [json.loads(line) for line in frontend.tapped.log.splitlines() if line.startswith('{"time"')]
    return {line["id"]: line for line in lines if line["event"] == "request"}


def profile(frontend, call, concurrency, folder):
    """Let AIPerf ask; return what it says of each request, by its id."""
    tokenizer = frontend.tapped.engine_dir / "tokenizer"
    command = [AIPERF, "profile", "--model", MODEL, "--url", frontend.url, "--tokenizer", tokenizer]
    command += ["--endpoint-type", call, "--streaming", "--extra-inputs", "ignore_eos:true", "--ui", "none"]
    command += ["--concurrency", concurrency, "--request-count", REQUESTS, "--artifact-dir", folder]
    command += ["--isl", TOKENS_IN, "--osl", TOKENS_OUT]
    output([*map(str, command)], cwd=folder)
    lines = (folder / "profile_export.jsonl").read_text().splitlines()
    return {line["metadata"]["x_request_id"]: line for line in map(json.loads, lines)}


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("call", CALLS)
def test_aiperf(measured, tmp_path, capsys, call, concurrency):
    with Reader(measured, *CALLS[call]) as reader:
        theirs = profile(measured, call, concurrency, tmp_path)
    lines = logged(measured)
    assert len(theirs) == REQUESTS
    assert theirs.keys() <= lines.keys()
    seen = {}
    for name, line in theirs.items():
        metrics = {metric: given["value"] for metric, given in line["metrics"].items()}
        assert metrics["usage_completion_tokens"] == lines[name]["tokens_out"] == TOKENS_OUT
        assert metrics["usage_prompt_tokens"] == lines[name]["tokens_in"]
        seen[name] = metrics["time_to_first_token"]
        assert lines[name]["ttft_ms"] - 0.1 < seen[name] < metrics["request_latency"]
    with capsys.disabled():
        theirs, ours = medians(seen, lines), medians(meanwhile(reader, theirs), lines)
        told = f"AIPerf {theirs}; a reader of ours meanwhile {ours}"
        sys.stdout.write(f"\n{call}, {concurrency} at a time, first token: {told}\n")


def meanwhile(reader, theirs):
    """What the reader saw while AIPerf measured."""
    times = [line["metadata"]["request_start_ns"] for line in theirs.values()]
    return {name: seen for name, (sent, seen) in reader.seen.items() if min(times) <= sent <= max(times)}


def medians(seen, lines):
    own = [lines[name]["ttft_ms"] for name in seen]
    ratio = statistics.median(seen[name] / lines[name]["ttft_ms"] for name in seen)
    return (
        f"{statistics.median(seen.values()):.1f} ms ({statistics.median(own):.1f} in the server's log; "
        f"median ratio {ratio:.2f}; {len(seen)} requests)"
    )
