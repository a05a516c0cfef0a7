# SPDX-License-Identifier: Apache-2.0
"""CPU a token of the engine stage's process on the vllm engine, without a model, by part.

    .venv-vllm-cpu/bin/python -m benchmarks.engine_front                         # this tree
    .venv-vllm-cpu/bin/python -m benchmarks.engine_front --against ../elsewhere  # in turns with another

The real AsyncLLM on an engine core that computes nothing: each step gives every request a token, all in one
encoded message, as vLLM's core sends them. Each part has those before it in it: "vllm" is AsyncLLM alone,
whose outputs are dropped; "engine" this project's engine, whose tokens are dropped; "stage" the engine stage,
where a pulse takes a while (--pulse-us) and next to no CPU, and a chunk neither. The CPU is that of all
threads.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import logging
import math
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.vllm_core import CONFIG, Core

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "llm_ensemble"
PROMPT = [7] * 32
SETTLE_SECONDS = 0.5  # until every request of a run has reached the engine core


class Tree:
    """The engine stage of a source tree, imported apart from that of other trees, on an engine core."""

    def __init__(self, folder: Path, engine_dir: Path, options: argparse.Namespace) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]
        sys.path.insert(0, str(folder))
        take = lambda name: importlib.import_module(f"{PACKAGE}.{name}")  # noqa: E731
        self.protocol, self.request = take("engines.protocol"), take("contract.request")
        self.read_sampling = take("engines.vllm.api").read_sampling
        stage = take("engine_stage.stage").EngineStage
        sampling = take("contract.sampling").Sampling
        engine, settings = take("engines.vllm.engine").VllmEngine, take("engines.vllm.settings").VllmSettings
        manifest = make_manifest(take("manifest"), options.streams)
        sys.path.remove(str(folder))
        self.core = Core(options.step_ms / 1000)
        from vllm.v1.engine.core_client import EngineCoreClient

        EngineCoreClient.make_async_mp_client = staticmethod(lambda *_, **__: self.core)
        self.engine = engine(engine_dir, manifest, options.streams, settings(cuda_graphs=False))
        self.stage = stage(self.engine)
        self.sampling = sampling(max_tokens=options.tokens, end_ids=[0])

    def in_loop(self, coroutine: Any) -> None:
        """Run a coroutine in AsyncLLM's event loop."""
        asyncio.run_coroutine_threadsafe(coroutine, self.engine._loop).result()


def make_manifest(module: Any, streams: int) -> Any:
    """Return the manifest of an engine for so many streams."""
    return module.Manifest(
        schema=module.SCHEMA,
        engine="vllm",
        model=module.Model(name="opt", revision=None, architecture="OPTForCausalLM"),
        precision="fp16",
        limits=module.Limits(
            max_batch_size=streams, max_input_len=1024, max_seq_len=2048, max_num_tokens=8192
        ),
        tensor_parallel=1,
        versions={},
        tokenizer_sha256="",
        defaults=module.RequestDefaults(max_tokens=128, end_ids=[0], pad_id=1),
    )


class Run:
    """Requests of one part, and when all of them have ended."""

    def __init__(self, tree: Tree, options: argparse.Namespace) -> None:
        self._tree, self._options = tree, options
        self._left = options.streams
        self._ended = threading.Event()
        self.chunks = 0
        self.tokens = 0

    def seconds(self, part: str) -> float:
        """Return the CPU seconds from the first token to the last end."""
        self._tree.core.held = True
        for number in range(self._options.streams):
            getattr(self, f"ask_{part}")(number)
        time.sleep(SETTLE_SECONDS)
        begin = time.process_time()
        self._tree.core.held = False
        assert self._ended.wait(600), part
        used = time.process_time() - begin
        assert part == "vllm" or self.tokens == self._options.streams * self._options.tokens
        return used

    def ask_vllm(self, number: int) -> None:
        """Take the outputs from AsyncLLM's collector, as the engine did before it had another way."""
        from vllm.inputs.engine import tokens_input

        async def add() -> None:
            params = self._tree.read_sampling(self._tree.sampling)
            name = f"{id(self)} {number}"
            collector = await self._tree.engine._llm.add_request(name, tokens_input(PROMPT), params)
            collector.put = lambda output: self._note(output.finished)

        self._tree.in_loop(add())

    def ask_engine(self, number: int) -> None:
        """Submit to the engine."""

        def on_tokens(tokens: Any) -> None:
            self.tokens += len(tokens.token_ids)
            self._note(tokens.finish)

        request = self._tree.protocol.GenerationRequest(number, PROMPT, self._tree.sampling)
        self._tree.engine.submit(request, on_tokens)

    def ask_stage(self, number: int) -> None:
        """Start a stream."""
        text = self._tree.request.TextOptions(True, [], "", len(PROMPT))
        request = self._tree.request.Request(self._tree.sampling, text, math.inf)
        self._tree.stage.generate(PROMPT, request, self)

    def pulse(self, pulse: Any) -> None:
        """Claim the stream, as postprocessing does at its first pulse."""
        time.sleep(self._options.pulse_us / 1e6)
        if pulse.text:
            self._tree.stage.claim(pulse.stream, self._send)

    def end(self, error: str = "") -> None:
        """Take the end of a stream's request."""
        assert not error, error

    def _send(self, chunk: Any) -> None:
        self.chunks += 1
        self.tokens += sum(len(part.token_ids) for part in chunk.parts)
        self._note(chunk.last)

    def _note(self, is_end: object) -> None:
        if is_end:
            self._left -= 1
            if not self._left:
                self._ended.set()


PARTS = ("vllm", "engine", "stage")


def measure(trees: dict[str, Tree], options: argparse.Namespace) -> None:
    """Print the microseconds a token by part: medians of rounds in which the trees take turns."""
    seen: dict[tuple[str, str], list[float]] = {}
    sizes: dict[str, float] = {}
    for number in range(options.rounds + 1):
        for part in PARTS:
            for name, tree in trees.items():
                run = Run(tree, options)
                micros = run.seconds(part) * 1e6 / options.streams / options.tokens
                if number:  # the first round warms up
                    seen.setdefault((name, part), []).append(micros)
                    sizes[name] = run.tokens / run.chunks if run.chunks else 0
    for (name, part), figures in seen.items():
        text = f"{statistics.median(figures):.2f} us a token ({min(figures):.2f} to {max(figures):.2f})"
        chunk = f", {sizes[name]:.1f} tokens in a chunk" if part == "stage" else ""
        sys.stdout.write(f"{name}, {part}: {text}{chunk}\n")


def main() -> None:
    """Measure one tree or two."""
    parser = argparse.ArgumentParser(description="CPU a token of the engine stage on vLLM, without a model.")
    parser.add_argument("--against", type=Path, help="another source tree of this project")
    parser.add_argument("--streams", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=256, help="of a stream")
    parser.add_argument("--step-ms", type=float, default=3, help="from a step's end to the next one's")
    parser.add_argument("--pulse-us", type=float, default=200, help="that sending a pulse takes")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        engine = Path(folder) / "engine"
        engine.mkdir()
        (engine / "config.json").write_text(json.dumps(CONFIG))
        folders = {"this tree": ROOT} | ({"the other": options.against.resolve()} if options.against else {})
        trees = {name: Tree(path, Path(folder), options) for name, path in folders.items()}
        measure(trees, options)
        for tree in trees.values():
            tree.stage.close()


if __name__ == "__main__":
    main()
