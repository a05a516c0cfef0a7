# SPDX-License-Identifier: Apache-2.0
"""The command line of the benchmark."""

from __future__ import annotations

import argparse
from pathlib import Path

from client.bench_driver import Target
from client.bench_load import Load
from client.bench_record import BenchError

MODES = {"stream": (True,), "plain": (False,), "both": (False, True)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that can be said; see --help."""
    _add_who(parser.add_argument_group("whom to ask"))
    _add_what(parser.add_argument_group("what to ask"))
    _add_how(parser.add_argument_group("how to measure"))
    _add_results(parser.add_argument_group("results"))


def _add_who(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--url", default="localhost:8001", help="host:port of the protocol (default: %(default)s)")
    add("--protocol", choices=("grpc", "http"), default="grpc", help="(default: %(default)s)")
    add(
        "--http-url",
        default="localhost:8000",
        help="where to ask for a prompt's length if no tokenizer is here",
    )
    add("--model", default="ensemble", help="(default: %(default)s)")
    add(
        "--serve",
        type=Path,
        metavar="ENGINE_DIR",
        help="start a server of our own with this engine, and ask it",
    )
    add("--server-pid", type=int, help="a local server's process: its CPU, and its children's, is measured")
    add(
        "--baseline",
        metavar="engine|URL",
        help="run this too, in turn: the bare engine of --engine-dir in a process here, or another server",
    )
    add(
        "--engine-dir",
        type=Path,
        help="of --baseline engine, and whose tokenizer counts (default: --serve's)",
    )


def _add_what(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--prompts", type=Path, metavar="FILE", help="a prompt a line (default: synthetic ones)")
    add("--input-tokens", type=int, default=32, help="of a synthetic prompt, exactly (default: %(default)s)")
    add("--output-tokens", type=int, default=128, help="of each request, exactly (default: %(default)s)")
    add(
        "--tokenizer",
        type=Path,
        metavar="FILE",
        help="tokenizer.json to count with (default: see --engine-dir)",
    )
    add(
        "--mode", choices=MODES, default="stream", help="streamed, one answer, or both (default: %(default)s)"
    )


def _add_how(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    either = group.add_mutually_exclusive_group()
    either.add_argument(
        "--concurrency", default="1,8,32", help="requests open at a time (default: %(default)s)"
    )
    either.add_argument(
        "--rate", help="requests a second instead, at random moments (Poisson), such as 1,2,4"
    )
    add("--requests", type=int, help="a run (default: 3 for each stream; for a rate 30 seconds' worth)")
    add("--warm-up", type=int, default=1, help="requests a stream before each run (default: %(default)s)")
    add("--rounds", type=int, default=3, help="runs of each target, which take turns (default: %(default)s)")
    add("--seed", type=int, default=0, help="of prompts and arrivals (default: %(default)s)")
    add("--timeout", type=float, default=600, help="seconds for one request (default: %(default)g)")
    add("--streams-per-process", type=int, default=64, help="asked by one process (default: %(default)s)")


def _add_results(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--json", type=Path, metavar="FILE", help="every figure, with settings and versions")
    group.add_argument("--picture", type=Path, metavar="FILE", help="throughput against latency, as PNG")
    group.add_argument("--title", default="", help="of the picture: the model and the machine")


def check(arguments: argparse.Namespace) -> None:
    """Raise BenchError for what cannot be measured, before anything is started."""
    for name in ("input_tokens", "output_tokens", "rounds", "streams_per_process"):
        if getattr(arguments, name) < 1:
            raise BenchError(f"--{name.replace('_', '-')} must be at least 1")
    if arguments.requests is not None and arguments.requests < 1:
        raise BenchError("--requests must be at least 1")
    if arguments.warm_up < 0:
        raise BenchError("--warm-up must be at least 0")
    if arguments.baseline == "engine" and not (arguments.engine_dir or arguments.serve):
        raise BenchError("--baseline engine needs --engine-dir: which engine?")
    if arguments.serve and arguments.server_pid:
        raise BenchError("--server-pid is for a server that runs already, --serve starts one: leave one out")
    loads(arguments)


def loads(arguments: argparse.Namespace) -> list[Load]:
    """The loads to sweep. Raises BenchError."""
    text = arguments.rate or arguments.concurrency
    try:
        if arguments.rate:
            found = [Load(rate=float(one)) for one in text.split(",")]
        else:
            found = [Load(concurrency=int(one)) for one in text.split(",")]
    except ValueError as error:
        raise BenchError(f"{text!r} is no list of numbers, such as 1,8,32") from error
    if any(load.concurrency < 1 and not 0 < load.rate < 1e6 for load in found):
        raise BenchError(f"{text!r}: numbers must be above 0")
    return found


def targets(arguments: argparse.Namespace, address: str) -> list[Target]:
    """Whom to ask; the baseline, if there is one, comes first. address: of the server."""
    modes = MODES[arguments.mode]
    names = {False: "not streamed", True: "streamed"}
    kind, model = arguments.protocol, arguments.model
    unary = f"{model}_unary" if model == "ensemble" else model
    found = [Target(names[stream], kind, address, stream, model, unary) for stream in modes]
    if arguments.baseline == "engine":
        folder = str(arguments.engine_dir or arguments.serve)
        return [Target("raw engine", "engine", folder, True), *found]
    if arguments.baseline:
        name = f"baseline {names[modes[-1]]}"
        return [Target(name, kind, arguments.baseline, modes[-1], model, unary), *found]
    return found
