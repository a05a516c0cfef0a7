# SPDX-License-Identifier: Apache-2.0
"""The benchmark's command line; no server."""

import argparse

import pytest

from benchmarks.bench import __main__ as bench
from benchmarks.bench.arguments import add_arguments, check, loads, targets
from benchmarks.bench.load import Load


def parse(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_the_baseline_comes_first_and_every_mode_after_it():
    asked = targets(parse("--mode", "both", "--baseline", "engine", "--engine-dir", "e"), "host:1")
    assert [target.name for target in asked] == ["raw engine", "not streamed", "streamed"]
    asked = targets(parse("--baseline", "other:8001"), "host:1")
    assert [(target.address, target.stream) for target in asked] == [("other:8001", True), ("host:1", True)]


@pytest.mark.parametrize(
    ("words", "kinds", "addresses"),
    [
        (("--baseline", "http://other:1"), ["http", "grpc"], ["other:1", "host:1"]),
        (("--baseline", "grpc", "--serve", "e"), ["grpc", "grpc"], ["host:2", "host:1"]),
    ],
)
def test_a_baseline_may_speak_another_protocol_or_be_the_same_server(words, kinds, addresses):
    given = parse("--server-pid", "3,4", *words) if "--serve" not in words else parse(*words)
    given.protocol = "grpc"
    asked = targets(given, "host:1", (3, 4), "host:2")
    assert [(target.kind, target.address) for target in asked] == [*zip(kinds, addresses)]
    assert asked[1].pids == (3, 4)
    assert asked[0].pids == ((3, 4) if "--serve" in words else ())
    assert [target.is_baseline for target in asked] == [True, False]


def test_several_processes_are_one_server():
    assert parse("--server-pid", "3,4", "--baseline-pid", "5").server_pid == (3, 4)


def test_loads_are_numbers_at_a_time_or_a_second():
    assert loads(parse("--concurrency", "1,8")) == [Load(concurrency=1), Load(concurrency=8)]
    assert loads(parse("--rate", "0.5,4")) == [Load(rate=0.5), Load(rate=4.0)]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--concurrency", "0"), "above 0"),
        (("--rate", "nan"), "above 0"),
        (("--concurrency", "one"), "no list of numbers"),
        (("--output-tokens", "0"), "--output-tokens must be at least 1"),
        (("--baseline", "engine"), "which engine"),
        (("--serve", "e", "--server-pid", "3"), "leave one out"),
        (("--prompts", "/nowhere"), "cannot be read"),
        (("--url", "http://here:8000", "--protocol", "grpc"), "leave --protocol out"),
        (("--url", "https://here"), "neither TLS"),
        (("--url", "ftp://here"), "must be like"),
        (("--url", "openai://here:9", "--protocol", "grpc"), "leave --protocol out"),
        (("--url", "openai://https://here"), "neither TLS"),
        (("--http-url", "grpc://here:8001"), "must be http"),
        (("--baseline", "grpc"), "of a server that --serve starts"),
        (("--serve", "e", "--baseline", "grpc", "--baseline-pid", "3"), "is for a --baseline that is"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(words, problem, capsys):
    assert bench.run(parse(*words)) == 1
    said = capsys.readouterr().err
    assert problem in said
    assert said.startswith("bench: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ((), ("grpc", "localhost:8001")),
        (("--url", "here:9"), ("grpc", "here:9")),
        (("--url", "here:9", "--protocol", "http"), ("http", "here:9")),
        (("--url", "http://here"), ("http", "here:8000")),
        (("--url", "grpc://here/"), ("grpc", "here:8001")),
        (("--url", "openai://here:9"), ("openai", "here:9")),
        (("--url", "here:9", "--protocol", "openai"), ("openai", "here:9")),
    ],
)
def test_an_address_is_taken_with_its_protocol_and_without(words, asked):
    given = parse(*words)
    check(given)
    assert (given.protocol, given.url) == asked


def test_a_server_that_is_not_there_is_said_in_one_line(tmp_path, capsys):
    prompts = tmp_path / "prompts"
    prompts.write_text("one\n")
    assert bench.run(parse("--url", "127.0.0.1:9", "--prompts", str(prompts), "--concurrency", "1")) == 1
    assert "bench: streamed at 127.0.0.1:9 failed while warming up" in capsys.readouterr().err
