# SPDX-License-Identifier: Apache-2.0
"""The benchmark's figures against what the pace engine dictates, on the real server."""

import argparse
import json

import pytest

from benchmarks.pace_engine import make_pace_engine
from build_scripts.tritonserver import free_ports, running
from client import bench
from client.bench_arguments import add_arguments

TTFT_MS, INTERVAL_MS, TOKENS, STREAMS, REQUESTS = 400, 25, 41, 8, 24
WHOLE_MS = TTFT_MS + (TOKENS - 1) * INTERVAL_MS
TRIES = 4  # another process's moment may spoil one; a wrong figure is wrong every time
FIVE_PERCENT = 0.05


@pytest.fixture(scope="module")
def paced(tmp_path_factory):
    """A server whose pace is known."""
    folder = tmp_path_factory.mktemp("paced")
    with pytest.MonkeyPatch.context() as patch, (folder / "log").open("wb") as log:
        patch.setenv("PACE_TTFT_MS", str(TTFT_MS))
        patch.setenv("PACE_INTERVAL_MS", str(INTERVAL_MS))
        with running(make_pace_engine(folder / "pace"), free_ports(), log) as server:
            server.wait_ready()
            yield server, folder / "pace"


def parse(paced, *words, protocol="grpc"):
    server, folder = paced
    port = server.ports.http if protocol == "http" else server.ports.grpc
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    where = ("--protocol", protocol, "--url", f"127.0.0.1:{port}", "--server-pid", str(server.process.pid))
    what = ("--engine-dir", str(folder), "--output-tokens", str(TOKENS), "--requests", str(REQUESTS))
    return parser.parse_args([*where, *what, "--rounds", "1", *words])


def deviations(point):
    """How far each figure is from what the pace dictates, as a part of it."""
    dictated = {
        "throughput": (point["output_tokens_per_second"], STREAMS * TOKENS / WHOLE_MS * 1000),
        "end to end": (point["e2e_ms"]["p50"], WHOLE_MS),
    }
    if point["streamed"]:
        dictated["ttft"] = (point["ttft_ms"]["p50"], TTFT_MS)
        dictated["itl"] = (point["itl_ms"]["p50"], INTERVAL_MS)
        dictated["mean itl"] = (point["itl_ms"]["mean"], INTERVAL_MS)
    return {name: abs(seen / right - 1) for name, (seen, right) in dictated.items()}


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_what_is_measured_is_what_the_pace_dictates(paced, protocol):
    for _ in range(TRIES):
        asked = parse(paced, "--mode", "both", "--concurrency", str(STREAMS), protocol=protocol)
        points = bench.measure(asked)["points"]
        assert [point["errors"] for point in points] == [0, 0]
        off = [deviations(point) for point in points]
        if max(max(one.values()) for one in off) <= FIVE_PERCENT:
            break
    else:
        pytest.fail(f"further than 5 % off in each of {TRIES} tries, the last: {off}")
    assert {point["input_tokens_mean"] for point in points} == {32}
    assert all(point["server_cpu_us_per_token"] > 0 for point in points)


def test_several_processes_ask_and_the_result_file_tells_all(paced, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PACE_TTFT_MS", str(TTFT_MS))
    monkeypatch.setenv("PACE_INTERVAL_MS", str(INTERVAL_MS))
    file = tmp_path / "result.json"
    words = ("--concurrency", "4", "--requests", "4", "--streams-per-process", "2", "--json", str(file))
    assert bench.run(parse(paced, *words, "--baseline", "engine")) == 0
    assert "raw engine" in capsys.readouterr().out
    result = json.loads(file.read_text())
    raw, streamed = result["points"]
    assert [point["runs"][0]["requests"] for point in (raw, streamed)] == [4, 4]
    assert 0.8 < streamed["ratio"] < 1.2
    assert result["settings"]["output_tokens"] == TOKENS
    assert result["versions"]["server"].startswith("triton 2.")
    assert result["engine"]["engine"] == "pace"


def test_a_rate_is_kept_whatever_is_open(paced):
    """10 a second for 2 seconds, each takes 1.4: they must overlap."""
    (point,) = bench.measure(parse(paced, "--rate", "10", "--requests", "20", "--warm-up", "0"))["points"]
    assert (point["load"], point["errors"]) == ("10/s", 0)
    assert point["runs"][0]["seconds"] < 20 * WHOLE_MS / 1000 / 4


def test_requests_that_fail_are_told_and_the_exit_status_says_so(paced, tmp_path, capsys):
    prompts = tmp_path / "prompts"
    prompts.write_text("fine\n" + "far too long " * 3000 + "\n")
    words = ("--prompts", str(prompts), "--concurrency", "1", "--requests", "2", "--warm-up", "1")
    assert bench.run(parse(paced, *words)) == 3
    assert bench.run(parse(paced, *words, "--warm-up", "2")) == 1
    assert "failed while warming up" in capsys.readouterr().err


def test_a_server_s_own_count_serves_where_no_tokenizer_is_at_hand(paced):
    server, _ = paced
    asked = parse(paced, "--concurrency", "1", "--requests", "1", "--input-tokens", "12")
    asked.engine_dir, asked.http_url = None, f"127.0.0.1:{server.ports.http}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "MOST_PROMPTS_ASKED", 1)
        (point,) = bench.measure(asked)["points"]
    assert point["input_tokens_mean"] == 12
