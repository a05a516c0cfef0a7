# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's AIPerf against the frontend, request by request beside the server's log: make clients-test.

Prints how much later than the server AIPerf saw the first token. That is not tested: other programs may take
the machine meanwhile. docs/clients.md has the figures of a run.
"""

import json
import statistics
import sys

import pytest

from tests.clients.running import CLIENTS, output
from tests.openai.frontend import MODEL, frontend_of

AIPERF = CLIENTS / "bin/aiperf"
REQUESTS, TOKENS_IN, TOKENS_OUT = 40, 50, 12
STEP_SECONDS = 0.05  # of a model that is worth measuring
CALLS = ["chat", "completions"]

pytestmark = pytest.mark.skipif(not AIPERF.exists(), reason="AIPerf needs Python 3.11 or newer")


@pytest.fixture(scope="module")
def measured(chat_engine, tmp_path_factory):
    """A frontend whose server logs each request as JSON."""
    folder = tmp_path_factory.mktemp("measured")
    with frontend_of(chat_engine, folder, TAP_STEP_SECONDS=STEP_SECONDS, LOG_FORMAT="json") as frontend:
        yield frontend


def logged(frontend):
    """The server's line about each request, by the id that the client gave it."""
    lines = [json.loads(line) for line in frontend.tapped.log.splitlines() if line.startswith('{"time"')]
    return {line["id"]: line for line in lines if line["event"] == "request"}


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("call", CALLS)
def test_aiperf(measured, tmp_path, capsys, call, concurrency):
    tokenizer = measured.tapped.engine_dir / "tokenizer"
    command = [AIPERF, "profile", "--model", MODEL, "--url", measured.url, "--tokenizer", tokenizer]
    command += ["--endpoint-type", call, "--streaming", "--extra-inputs", "ignore_eos:true", "--ui", "none"]
    command += ["--concurrency", concurrency, "--request-count", REQUESTS, "--artifact-dir", tmp_path]
    command += ["--isl", TOKENS_IN, "--osl", TOKENS_OUT]
    output([*map(str, command)], cwd=tmp_path)
    lines = (tmp_path / "profile_export.jsonl").read_text().splitlines()
    theirs = {line["metadata"]["x_request_id"]: line["metrics"] for line in map(json.loads, lines)}
    ours = logged(measured)
    assert len(theirs) == REQUESTS
    assert theirs.keys() <= ours.keys()
    first = []
    for name, metrics in theirs.items():
        line = ours[name]
        assert metrics["usage_completion_tokens"]["value"] == line["tokens_out"] == TOKENS_OUT
        assert metrics["usage_prompt_tokens"]["value"] == line["tokens_in"]
        seen = metrics["time_to_first_token"]["value"]
        assert line["ttft_ms"] - 0.1 < seen < metrics["request_latency"]["value"]
        first.append((seen, line["ttft_ms"]))
    seen, own = (statistics.median(values) for values in zip(*first))
    told = (
        f"{call}, {concurrency} at a time: first token after {seen:.1f} ms, {own:.1f} ms in the server's log"
    )
    with capsys.disabled():
        sys.stdout.write(f"\n{told}\n")
