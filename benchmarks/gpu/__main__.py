# SPDX-License-Identifier: Apache-2.0
"""Measure the table of vLLM on a GPU, row by row, until it is done or its time is over.

    make gpu-bench GPU_DIR=/tmp/gpu ROWS='opt qwen3' SECONDS=560

ENGINE_PYTHON, which has vLLM, runs this and asks; SERVING_PYTHON serves. Each row's figures are
in a file of its own from the first load on, and summary.json after each row: a run that is killed keeps what
it had. Servers share the GPU: each gets a part of its memory, and they start one after another, since vLLM
looks at the free memory when it starts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.gpu.engines import make_engine
from benchmarks.gpu.rows import Row, chosen
from benchmarks.gpu.servers import Started, ours, vllm_serve
from benchmarks.gpu.summary import summary, table
from llm_ensemble.engines.gpu_inventory import find_gpus, visible
from llm_ensemble.manifest import TOKENIZER
from serving.tritonserver import ROOT

INPUT_TOKENS = OUTPUT_TOKENS = 128
FRACTION = {"opt-125m": 0.2, "qwen3-8b": 0.3, "qwen3-8b-tp2": 0.3}  # of the memory, for each server
LEAST_SECONDS = 45  # below it no row is begun
FATAL = (RuntimeError, OSError, subprocess.SubprocessError)


class Table:
    """A run over rows; the server of this project stays from row to row while the engine is the same."""

    def __init__(self, folder: Path, results: Path, seconds: float) -> None:
        self._folder, self._results = folder, results
        self._end = time.monotonic() + seconds
        self._stack = contextlib.ExitStack()
        self._served: tuple[str, dict[str, str]] | None = None
        self._ours: Started | None = None
        self.notes: dict[str, object] = {}

    def close(self) -> None:
        """End the server that is left."""
        self._stack.close()

    def measure(self, row: Row) -> None:
        """Measure one row; a failure is noted, and the next row gets its chance."""
        left = self._end - time.monotonic()
        if left < LEAST_SECONDS:
            self.notes[row.name] = "not begun: the time is over"
            return
        say(f"{row.name}, at most {min(left, row.seconds):.0f} s")
        try:
            with contextlib.ExitStack() as stack:
                started = self._serve(row)
                words = self._baseline(row, stack)
                self._bench(row, started, words)
        except FATAL as error:
            self.notes[row.name] = f"{type(error).__name__}: {error}"[:300]
            say(f"{row.name}: {self.notes[row.name]}")

    def _serve(self, row: Row) -> Started:
        """Return this project's server for a row's engine."""
        if self._ours is None or self._served != (row.engine, row.ours):
            self._stack.close()
            self._ours = None
            environ = {"GPU_MEMORY_FRACTION": str(FRACTION[row.engine]), **row.ours}
            log = self._results / f"server-{row.name}.log"
            self._ours = self._stack.enter_context(ours(self._engine(row.engine), log, **environ))
            self._served = (row.engine, row.ours)
            self._note_start(row.name, "ours", self._ours)
        return self._ours

    def _baseline(self, row: Row, stack: contextlib.ExitStack) -> list[str]:
        """Start a row's baseline; return the benchmark's words for it."""
        if row.baseline == "engine":
            return ["--baseline", "engine"]
        log, fraction = self._results / f"baseline-{row.name}.log", FRACTION[row.engine]
        if row.baseline == "serve":
            started = stack.enter_context(
                vllm_serve(self._engine(row.engine), log, fraction, row.options, **row.environ)
            )
        else:
            environ = {"GPU_MEMORY_FRACTION": str(fraction), **row.theirs}
            engine = self._engine(row.their_engine or row.engine)
            started = stack.enter_context(ours(engine, log, **environ))
        self._note_start(row.name, "baseline", started)
        return ["--baseline", started.url, "--baseline-pid", str(started.pid)]

    def _engine(self, name: str) -> Path:
        return make_engine(name, self._folder)

    def _note_start(self, row: str, which: str, started: Started) -> None:
        self.notes[f"{row}: {which} ready after"] = f"{started.seconds:.1f} s"
        say(f"{row}: {which} ready after {started.seconds:.1f} s")

    def _bench(self, row: Row, started: Started, baseline: list[str]) -> None:
        folder = self._engine(row.engine)
        command = [
            *(
                sys.executable,
                "-m",
                "benchmarks.bench",
                "--url",
                started.url,
                "--server-pid",
                str(started.pid),
            ),
            *baseline,
            *("--engine-dir", str(folder), "--tokenizer", str(folder / TOKENIZER / "tokenizer.json")),
            *("--mode", row.mode, "--rounds", str(row.rounds)),
            *("--concurrency", ",".join(map(str, row.loads))),
            *("--requests", ",".join(map(str, row.loads.values()))),
            *("--input-tokens", str(INPUT_TOKENS), "--output-tokens", str(OUTPUT_TOKENS)),
            *("--timeout", "120", "--json", str(self._results / f"{row.name}.json")),
        ]
        seconds = max(1.0, min(row.seconds, self._end - time.monotonic()))
        environ = {**os.environ, "GPU_MEMORY_FRACTION": str(FRACTION[row.engine])}  # of the bare engine
        with (self._results / f"{row.name}.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=environ)
            try:
                status: int | str = process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                status = f"ended after {seconds:.0f} s"
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(20)
                process.kill()
        self.notes[row.name] = status
        say(f"{row.name}: {status}")


def main() -> int:
    """Read the command line, measure, print the table."""
    parser = argparse.ArgumentParser(description="Measure the table of vLLM on a GPU.")
    parser.add_argument(
        "--engines", type=Path, required=True, help="where engine directories are, or are made"
    )
    parser.add_argument("--results", type=Path, default=ROOT / "build/gpu-results")
    parser.add_argument("--seconds", type=float, default=3600, help="for all rows together")
    parser.add_argument(
        "rows", nargs="*", help="beginnings of rows' names; all that the GPUs allow unless told"
    )
    asked = parser.parse_args()
    gpus = find_gpus()
    try:
        rows = chosen(asked.rows, len(visible(gpus)))
    except ValueError as error:
        sys.stderr.write(f"gpu-bench: {error}\n")
        return 1
    asked.results.mkdir(parents=True, exist_ok=True)
    run = Table(asked.engines.absolute(), asked.results, asked.seconds)
    with contextlib.closing(run):
        for row in rows:
            run.measure(row)
            found = summary(asked.results, [gpu.name for gpu in gpus], run.notes)
            (asked.results / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    sys.stdout.write("\n" + table(found))
    return 0


def say(text: str) -> None:
    """Print a line with the time."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} gpu-bench: {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
