# SPDX-License-Identifier: Apache-2.0
"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks.bench.driver import Target
from benchmarks.bench.load import Load
from benchmarks.bench.openai import first_model
from benchmarks.bench.record import BenchError
from llm_ensemble_client.address import parse_url
from llm_ensemble_client.errors import InvalidRequest

OPENAI = "openai://"
SCHEMES = ("grpc", "http", "openai")
WORDS = ("engine", "grpc")  # baselines that are no address
PIDS = "process id (several: with commas between them)"
MODES = {"stream": (True,), "plain": (False,), "both": (False, True)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add every option."""
    _add_targets(parser.add_argument_group("targets"))
    _add_requests(parser.add_argument_group("requests"))
    _add_runs(parser.add_argument_group("runs"))
    _add_results(parser.add_argument_group("results"))


def _add_targets(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    url = os.environ.get("LLM_ENSEMBLE_URL", "localhost:8001")
    add(
        "--url",
        default=url,
        help="server to measure, [http://|grpc://|openai://]HOST:PORT (default: %(default)s)",
    )
    add(
        "--protocol",
        choices=SCHEMES,
        help="protocol of a --url without one, and of --serve (default: grpc)",
    )
    add(
        "--http-url",
        default="localhost:8000",
        help="HTTP address that counts the tokens of prompts where there is no tokenizer",
    )
    add("--model", default="ensemble", help="Triton model (default: %(default)s)")
    add(
        "--serve",
        type=Path,
        metavar="ENGINE_DIR",
        help="start a server with this engine, and measure it",
    )
    add(
        "--server-pid",
        type=_pids,
        help=f"{PIDS} of a local server, to measure their CPU and their children's",
    )
    add(
        "--baseline",
        metavar="engine|grpc|URL",
        help="measure this too, in turn: the bare engine of --engine-dir in a process of its own, the gRPC "
        "of a server that --serve starts, another server, or openai://HOST:PORT, one with OpenAI's "
        "completions such as `vllm serve`",
    )
    add("--baseline-pid", type=_pids, help=f"{PIDS} of the baseline's server, to measure its CPU")
    add("--baseline-model", help="model of an openai:// baseline (default: the first that it lists)")
    add(
        "--engine-dir",
        type=Path,
        help="engine of --baseline engine, whose tokenizer counts tokens (default: --serve's)",
    )


def _add_requests(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--prompts", type=Path, metavar="FILE", help="prompts, one a line (default: synthetic prompts)")
    add("--input-tokens", type=int, default=32, help="tokens of a synthetic prompt (default: %(default)s)")
    add(
        "--output-tokens",
        type=int,
        default=128,
        help="tokens that each request generates (default: %(default)s)",
    )
    add(
        "--tokenizer",
        type=Path,
        metavar="FILE",
        help="tokenizer.json that counts tokens (default: see --engine-dir)",
    )
    add(
        "--mode",
        choices=MODES,
        default="stream",
        help="streaming, unary (plain), or both (default: %(default)s)",
    )


def _add_runs(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    either = group.add_mutually_exclusive_group()
    either.add_argument("--concurrency", default="1,8,32", help="open requests (default: %(default)s)")
    either.add_argument("--rate", help="requests a second instead, at random times (Poisson), such as 1,2,4")
    add(
        "--requests",
        help="requests of a run, one number or one for each load (default: 3 for each open request; for a "
        "rate, of 30 seconds)",
    )
    add(
        "--warm-up",
        type=int,
        default=1,
        help="warm-up requests for each open request before a run (default: %(default)s)",
    )
    add("--rounds", type=int, default=3, help="runs of each target, in turn (default: %(default)s)")
    add("--seed", type=int, default=0, help="seed of prompts and arrivals (default: %(default)s)")
    add("--timeout", type=float, default=600, help="seconds for one request (default: %(default)g)")
    add(
        "--streams-per-process",
        type=int,
        default=64,
        help="open requests of one client process (default: %(default)s)",
    )


def _add_results(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--json", type=Path, metavar="FILE", help="write every figure, with settings and versions"
    )
    group.add_argument("--picture", type=Path, metavar="FILE", help="draw throughput against latency, as PNG")
    group.add_argument("--title", default="", help="title of the picture")


def check(arguments: argparse.Namespace) -> None:
    """Raise BenchError for what cannot be measured, before anything is started."""
    for name in ("input_tokens", "output_tokens", "rounds", "streams_per_process"):
        if getattr(arguments, name) < 1:
            raise BenchError(f"--{name.replace('_', '-')} must be at least 1")
    if arguments.warm_up < 0:
        raise BenchError("--warm-up must be at least 0")
    if arguments.baseline == "engine" and not (arguments.engine_dir or arguments.serve):
        raise BenchError("--baseline engine needs --engine-dir: which engine?")
    if arguments.baseline == "grpc" and not arguments.serve:
        raise BenchError("--baseline grpc is of a server that --serve starts: give grpc://HOST:PORT")
    if arguments.baseline in (None, *WORDS) and arguments.baseline_pid:
        raise BenchError("--baseline-pid is for a --baseline that is a server")
    if arguments.baseline_model and not (arguments.baseline or "").startswith(OPENAI):
        raise BenchError(f"--baseline-model is for a --baseline {OPENAI}HOST:PORT")
    if arguments.serve and arguments.server_pid:
        raise BenchError("--server-pid is for a server that runs already, --serve starts one: leave one out")
    request_counts(arguments)
    _read_addresses(arguments)


def _read_addresses(arguments: argparse.Namespace) -> None:
    """Make every address HOST:PORT; the scheme of --url decides the protocol. Raise BenchError."""
    if not arguments.serve:
        scheme, address = _address(arguments.url, arguments.protocol or "grpc")
        if arguments.protocol not in (None, scheme):
            raise BenchError(f"--url {arguments.url} is not {arguments.protocol}: leave --protocol out")
        arguments.url, arguments.protocol = address, scheme
    arguments.protocol = arguments.protocol or "grpc"
    scheme, address = _address(arguments.http_url, "http")
    if scheme != "http":
        raise BenchError(f"{arguments.http_url} must be http, as --http-url is asked by it")
    arguments.http_url = address
    if arguments.baseline not in (None, *WORDS):
        scheme, address = _address(arguments.baseline, arguments.protocol)
        arguments.baseline = f"{scheme}://{address}"


def _address(url: str, scheme: str) -> tuple[str, str]:
    """Return scheme and host:port. scheme: of a URL without one. Raise BenchError."""
    if url.startswith(OPENAI) or (scheme == "openai" and "://" not in url):
        return "openai", _address(url.removeprefix(OPENAI), "http")[1]
    try:
        address = parse_url(url, scheme)
    except InvalidRequest as error:
        raise BenchError(str(error)) from error
    if address.is_secure or address.prefix:
        raise BenchError(
            f"{url}: the benchmark speaks neither TLS nor to a path, but http:// or grpc://HOST:PORT"
        )
    return address.scheme, address.netloc


def _pids(text: str) -> tuple[int, ...]:
    return tuple(int(one) for one in text.split(","))


def loads(arguments: argparse.Namespace) -> list[Load]:
    """Return the loads to sweep. Raise BenchError."""
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


def request_counts(arguments: argparse.Namespace) -> list[int | None]:
    """Return the requests of a run under each load, None for the usual number. Raise BenchError."""
    number = len(loads(arguments))
    if arguments.requests is None:
        return [None] * number
    given = str(arguments.requests).split(",")
    if not all(one.isdecimal() and int(one) > 0 for one in given) or len(given) not in (1, number):
        raise BenchError(f"--requests must be a number above 0, or {number}: one for each load")
    return [int(one) for one in given] if len(given) == number else [int(given[0])] * number


def targets(
    arguments: argparse.Namespace, address: str, pids: tuple[int, ...] = (), ensemble: str = ""
) -> list[Target]:
    """Return the targets, each after its baseline. address, pids: of the server. ensemble: its gRPC."""
    modes = MODES[arguments.mode]
    ours = [_target(arguments, arguments.protocol, address, stream, pids) for stream in modes]
    given = arguments.baseline
    if given == "engine":
        folder = str(arguments.engine_dir or arguments.serve)
        return [Target("raw engine", "engine", folder, True, is_baseline=True), *ours]
    if not given:
        return ours
    if given == "grpc":
        kind, address = "grpc", ensemble
    else:
        kind, address = _address(given, arguments.protocol)
        pids = arguments.baseline_pid or ()
    theirs = [_target(arguments, kind, address, stream, pids, is_baseline=True) for stream in modes]
    return [target for pair in zip(theirs, ours) for target in pair]


def _target(
    arguments: argparse.Namespace,
    kind: str,
    address: str,
    stream: bool,
    pids: tuple[int, ...],
    is_baseline: bool = False,
) -> Target:
    """Return a target. A server with OpenAI's API is asked for the first model that it lists."""
    name = ("baseline " if is_baseline else "") + ("streamed" if stream else "not streamed")
    model = arguments.model
    if kind == "openai":
        model = (arguments.baseline_model if is_baseline else "") or first_model(address)
    unary = f"{model}_unary" if model == "ensemble" else model
    return Target(name, kind, address, stream, model, unary, pids, is_baseline)
