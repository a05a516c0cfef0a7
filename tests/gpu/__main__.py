# SPDX-License-Identifier: Apache-2.0
"""Run the tests that need vLLM and its GPU, each part with a time limit; the most important first.

    make gpu-test GPU_DIR=/tmp/gpu PARTS='serving contract features text'

ENGINE_PYTHON has vLLM, SERVING_PYTHON the rest (deploy/gpu_pack/unpack.py). Logs, JUnit files and seen.json,
the figures that the tests noted, are in the results' folder from the beginning on.
"""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from serving.tritonserver import ROOT

ENGINES = ("demo", "demo-fp16", "opt-125m")  # of benchmarks/gpu/engines.py
CONTRACT = ("tests/engine/test_every_engine.py", "tests/engine/in_vllm_environment.py")
LORA = "tests/engine/lora_on_gpus.py"
FEATURES = ("tests/engine/features/test_features.py", "tests/engine/test_engine_guides.py", LORA)
TEXT = (
    *("tests/server/text/test_generate.py", "tests/server/text/test_shapes.py"),
    "tests/server/lifecycle/test_stub_environment.py",
)
GROUPS = "tests/gpu/test_groups_on_gpus.py"
PYTEST = ("-q", "-W", "ignore", "-p", "no:cacheprovider", "--timeout=200", "--durations=10")


@dataclass(frozen=True)
class Part:
    """A run of pytest. python: the variable that names it. seconds: after which it is ended."""

    python: str
    words: tuple[str, ...]
    seconds: int


PARTS = {
    "serving": Part("SERVING_PYTHON", ("tests/gpu", f"--ignore={GROUPS}"), 330),
    "contract": Part("ENGINE_PYTHON", CONTRACT, 280),
    "features": Part("ENGINE_PYTHON", FEATURES, 240),
    "text": Part("SERVING_PYTHON", TEXT, 120),
    "groups": Part("SERVING_PYTHON", (GROUPS,), 240),  # two GPUs
}


def run(name: str, results: Path, environ: dict[str, str]) -> int | str:
    """Run a part; return its exit status, or that it was ended."""
    part = PARTS[name]
    words = [word for word in part.words if word != LORA or environ["TESTED_LORA"]]
    command = [environ.get(part.python, sys.executable), "-m", "pytest", *PYTEST, *words]
    command.append(f"--junitxml={results / name}.xml")
    with (results / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=environ)
        try:
            return process.wait(part.seconds)
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
            return f"ended after {part.seconds} s"


def main() -> int:
    """Make the engines, run the parts, say how each ended."""
    parser = argparse.ArgumentParser(description="Run the tests that need vLLM and its GPU.")
    parser.add_argument(
        "--engines", type=Path, required=True, help="where engine directories are, or are made"
    )
    parser.add_argument("--results", type=Path, default=ROOT / "build/gpu-results")
    parser.add_argument("--lora", type=Path, help="of tests/lora/make.py; without it, no adapter is tested")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all unless told")
    asked = parser.parse_args()
    if unknown := [name for name in asked.parts if name not in PARTS]:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    engines, results = asked.engines.absolute(), asked.results.absolute()
    results.mkdir(parents=True, exist_ok=True)
    python = os.environ.get("ENGINE_PYTHON", sys.executable)
    subprocess.run([python, "-m", "benchmarks.gpu.engines", str(engines), *ENGINES], cwd=ROOT, check=True)
    environ = {
        "GPU_MEMORY_FRACTION": "0.2",  # several servers, one after another, on a GPU that others may use
        **os.environ,
        "GPU_RESULTS": str(results),
        "TESTED_ENGINE_DIR": str(engines / "demo"),
        "HALF_ENGINE_DIR": str(engines / "demo-fp16"),
        "LONG_ENGINE_DIR": str(engines / "opt-125m"),
        "TESTED_LORA": str(asked.lora.absolute()) if asked.lora else "",
    }
    ends = {}
    for name in asked.parts or PARTS:
        began = time.monotonic()
        ends[name] = run(name, results, environ)
        lines = (results / f"{name}.log").read_text(errors="replace").splitlines()
        sys.stdout.write("\n".join(line[:200] for line in lines[-12:]) + "\n")
        sys.stdout.write(f"gpu-test: {name}: {ends[name]}, {time.monotonic() - began:.0f} s\n")
        sys.stdout.flush()
    return int(any(ends.values()))


if __name__ == "__main__":
    sys.exit(main())
