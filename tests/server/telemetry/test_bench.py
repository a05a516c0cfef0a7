# SPDX-License-Identifier: Apache-2.0
"""The benchmark's figures and the known pace of the pace engine, on the real server.

No token comes before the pace has it, so no time to one is shorter; a busy machine makes them longer, and
the tokens after a late one come sooner than the pace. tests/timing has how near the figures are.
"""

import argparse
import json
import os
import subprocess
import sys

import pytest

from benchmarks.bench import __main__ as bench
from benchmarks.bench.arguments import add_arguments
from benchmarks.pace.make_engine import make_pace_engine
from serving.tritonserver import ROOT, free_ports, running

TTFT_MS, INTERVAL_MS, TOKENS, STREAMS, REQUESTS = 400, 25, 41, 8, 24
WHOLE_MS = TTFT_MS + (TOKENS - 1) * INTERVAL_MS
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
    """Return by what part each figure is worse than the pace."""
    expected = {
        "time per token": (1 / point["output_tokens_per_second"], WHOLE_MS / 1000 / STREAMS / TOKENS),
        "end to end": (point["e2e_ms"]["p50"], WHOLE_MS),
    }
    if point["streamed"]:
        expected["ttft"] = (point["ttft_ms"]["p50"], TTFT_MS)
        expected["itl"] = (point["itl_ms"]["p50"], INTERVAL_MS)
        expected["mean itl"] = (point["itl_ms"]["mean"], INTERVAL_MS)
    return {name: measured / right - 1 for name, (measured, right) in expected.items()}


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_figures_are_those_of_the_pace_or_of_a_busy_machine(paced, protocol):
    asked = parse(paced, "--mode", "both", "--concurrency", str(STREAMS), protocol=protocol)
    points = bench.measure(asked)["points"]
    assert [point["errors"] for point in points] == [0, 0]
    off = [deviations(point) for point in points]
    for name, part in (pair for one in off for pair in one.items()):
        assert (-0.5 if name in ("itl", "mean itl") else -FIVE_PERCENT) <= part < 2, (name, off)
    assert {point["input_tokens_mean"] for point in points} == {32}
    assert all(point["server_cpu_us_per_token"] > 0 for point in points)


def test_several_processes_send_requests_and_the_result_file_has_everything(
    paced, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("PACE_TTFT_MS", str(TTFT_MS))
    monkeypatch.setenv("PACE_INTERVAL_MS", str(INTERVAL_MS))
    file = tmp_path / "result.json"
    words = ("--concurrency", "4", "--requests", "4", "--streams-per-process", "2", "--json", str(file))
    assert bench.run(parse(paced, *words, "--baseline", "engine")) == 0
    assert "raw engine" in capsys.readouterr().out
    result = json.loads(file.read_text())
    raw, streamed = result["points"]
    assert [point["runs"][0]["requests"] for point in (raw, streamed)] == [4, 4]
    assert 0.3 < streamed["ratio"] < 2
    assert result["settings"]["output_tokens"] == TOKENS
    assert result["versions"]["server"].startswith("triton 2.")
    assert result["engine"]["engine"] == "benchmarks.pace"


def test_a_rate_is_kept_however_many_requests_are_open(paced):
    """10 a second for 2 seconds, each takes 1.4: they must overlap."""
    (point,) = bench.measure(parse(paced, "--rate", "10", "--requests", "20", "--warm-up", "0"))["points"]
    assert (point["load"], point["errors"]) == ("10/s", 0)
    assert point["runs"][0]["seconds"] < 20 * WHOLE_MS / 1000 / 4


def test_requests_that_fail_are_reported_and_set_the_exit_status(paced, tmp_path, capsys):
    prompts = tmp_path / "prompts"
    prompts.write_text("fine\n" + "far too long " * 3000 + "\n")
    words = ("--prompts", str(prompts), "--concurrency", "1", "--requests", "2", "--warm-up", "1")
    assert bench.run(parse(paced, *words)) == 3
    assert bench.run(parse(paced, *words, "--warm-up", "2")) == 1
    assert "failed while warming up" in capsys.readouterr().err


def test_without_a_tokenizer_the_server_s_token_counts_are_used(paced):
    server, _ = paced
    asked = parse(paced, "--concurrency", "1", "--requests", "1", "--input-tokens", "12")
    asked.engine_dir, asked.http_url = None, f"127.0.0.1:{server.ports.http}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "MOST_PROMPTS_ASKED", 1)
        (point,) = bench.measure(asked)["points"]
    assert point["input_tokens_mean"] == 12


def test_a_server_of_openai_s_api_is_measured_in_turn_and_each_mode_compared_with_its_own(paced):
    command = [sys.executable, "-m", "tests.fakes.openai_server"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        theirs = ("--baseline", f"openai://127.0.0.1:{process.stdout.readline().strip()}")
        words = ("--mode", "both", "--concurrency", "4", "--requests", "4", "--rounds", "2")
        # A process that works meanwhile: the stand-in takes less than a tick of the clock.
        points = bench.measure(parse(paced, *words, *theirs, "--baseline-pid", str(os.getpid())))["points"]
        process.kill()
    names = ["baseline not streamed", "not streamed", "baseline streamed", "streamed"]
    assert [(point["target"], point["errors"]) for point in points] == [(name, 0) for name in names]
    assert ["ratio" in point for point in points] == [False, True, False, True]
    assert all(point["server_cpu_us_per_token"] > 0 for point in points)
    plain, streamed = points[1], points[3]
    assert plain["ratio"] < streamed["ratio"] < 1, "the stand-in computes nothing, but rests between events"
    assert (plain["ttft_ratio"], plain["cpu_ratio"] > 0) == (None, True)
    assert streamed["ttft_ratio"] == pytest.approx(
        streamed["ttft_ms"]["p50"] / points[2]["ttft_ms"]["p50"], rel=1e-3
    )
    assert points[2]["tokens_per_response"] == pytest.approx(TOKENS / 15, rel=1e-3), "1, then 3 an event"
