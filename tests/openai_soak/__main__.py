# SPDX-License-Identifier: Apache-2.0
"""What the OpenAI frontend bears: bodies that nobody would send, and more clients than anybody has.

    make openai-soak                                  some ten minutes
    python -m tests.openai_soak described own crowd   some of its parts

The bodies are always the same ones. Prints what was seen, and a verdict.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from pathlib import Path

import schemathesis

from benchmarks.pace.make_engine import make_pace_engine
from benchmarks.path import LIMITS
from serving.tritonserver import free_ports, running
from tests.openai.frontend import TEMPLATE, frontend_beside, frontend_of
from tests.openai_soak import described, drawing, sending, torn
from tests.openai_soak.crowd import Crowd, Plain
from tests.server.conftest import with_chat_template

INTERVAL_MS = 10


def fuzzed_by_description(frontend, number):
    """Return what was wrong."""
    schema = schemathesis.openapi.from_url(f"{frontend.url}/openapi.json")
    cases = described.drawn(schema, number, "demo")
    seen = described.ask(frontend.url, cases)
    say(f"{len(cases)} bodies of the description: {sorted(seen.statuses.items())}")
    say(f"of those that fit it, refused: {seen.refused.most_common(20)}")
    return seen.wrong


def fuzzed_by_hand(frontend, number):
    """Return what was wrong."""
    cases = [*drawing.drawn(number), *torn.late()]
    wrong, seen = asyncio.run(sending.send_all(frontend.port, cases))
    say(f"{len(cases)} of our own: {sorted(seen.items(), key=str)}")
    return [f"{problem}: {sent.kind} {[piece[:300] for piece in sent.pieces[:3]]}" for problem, sent in wrong]


def fuzz(folder, engine_dir, parts, number):
    """Return what was wrong with the answers to all bodies."""
    engine = with_chat_template(engine_dir, folder / "engine", TEMPLATE)
    with frontend_of(engine, folder) as frontend:
        wrong = fuzzed_by_description(frontend, number) if "described" in parts else []
        wrong += fuzzed_by_hand(frontend, number) if "own" in parts else []
        frontend.tapped.wait(frontend.tapped.is_empty)
        return wrong + ended_well(frontend)


def crowd(folder, scale):
    """Return what was wrong with the answers to all clients. scale: of their numbers."""
    engine = make_pace_engine(folder / "pace", LIMITS)
    os.environ.update(PACE_INTERVAL_MS=str(INTERVAL_MS), MAX_WAITING="256")
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((folder / "log").open("wb"))
        server = stack.enter_context(running(engine, free_ports(), log))
        server.wait_ready()
        frontend = stack.enter_context(frontend_beside(Plain(server, engine), engine, folder))
        one = Crowd(frontend)
        asyncio.run(one.in_turns(max(10, int(200 * scale))))  # so that what is made once is there
        files = one.files
        for work in (
            one.dropped(int(500 * scale)),
            one.at_once(int(1500 * scale)),
            one.slow(int(100 * scale)),
            one.in_turns(int(5000 * scale)),
        ):
            say(asyncio.run(work))
        one.wrong += [f"{one.files} files are open, before there were {files}"] if one.files > files else []
        return one.wrong + ended_well(frontend)


def ended_well(frontend):
    """Return what is wrong with the frontend itself."""
    status, trace = frontend.process.poll(), frontend.log.read_text().partition("Traceback")[2]
    wrong = [] if status is None else [f"the frontend ended with {status}"]
    return [*wrong, f"the frontend's log has a traceback: {trace[:2000]}"] if trace else wrong


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], "described", "own", "crowd"], metavar="part")
    parser.add_argument("--engine-dir", type=Path, default=Path("engines/demo"))
    parser.add_argument("--bodies", type=int, default=2000, help="of each kind")
    parser.add_argument("--scale", type=float, default=1.0, help="of the crowd")
    asked = parser.parse_args()
    parts, wrong = asked.parts or ["described", "own", "crowd"], []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folders = [Path(name, part) for part in ("fuzz", "crowd")]
        for folder in folders:
            folder.mkdir()
        if {"described", "own"} & {*parts}:
            wrong += fuzz(folders[0], asked.engine_dir.resolve(), parts, asked.bodies)
        if "crowd" in parts:
            wrong += crowd(folders[1], asked.scale)
    for one in wrong[:40]:
        say(f"wrong: {one[:1000]}")
    say(
        f"openai-soak: {len(wrong)} wrong"
        if wrong
        else "openai-soak: every answer was right, nothing is left"
    )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
