# SPDX-License-Identifier: Apache-2.0
"""Speculative decoding against none: tokens a second of the openvino engine, in alternating rounds.

    .venv-build/bin/python benchmarks/deep_checkpoint.py build/speculation
    for name in deep stranger; do make build MODEL=build/speculation/$name OUTPUT=engines/$name ...; done
    python -m benchmarks.speculation engines/deep --drafts engines/demo engines/stranger

Prints a Markdown table: for each way and each number of requests at a time the ratio to none of the same
round (median, least, most), and the part of the proposed tokens that was accepted.
"""

from __future__ import annotations

import argparse
import queue
import statistics
import sys
import time
from pathlib import Path

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.openvino.engine import OpenVinoEngine
from llm_ensemble.engines.openvino.settings import OpenVinoSettings
from llm_ensemble.engines.protocol import GenerationRequest, Tokens
from llm_ensemble.manifest import read_manifest
from llm_ensemble.preprocessing.preprocessor import load_tokenizer

TEXTS = (
    "The package manager",
    "If you want to",
    "To change the settings,",
    "Note that",
    "A file",
    "The disk",
)
NONE = "none"


def prompts_of(engine_dir: Path) -> list[list[int]]:
    """Return token ids of texts, which the demo model continues by itself and soon repeats itself."""
    tokenizer = load_tokenizer(engine_dir)
    return [tokenizer.encode(text).ids for text in TEXTS]


class Way:
    """An engine that proposes tokens in one way."""

    def __init__(self, name: str, engine_dir: Path, settings: OpenVinoSettings) -> None:
        self.name = name
        self._engine = OpenVinoEngine(engine_dir, read_manifest(engine_dir), 64, settings)
        self._number = 0

    def run(self, prompts: list[list[int]], together: int, tokens: int) -> tuple[float, float]:
        """Return tokens a second of so many requests at once, and the part of the proposed accepted."""
        before = self._engine.stats()
        received: queue.SimpleQueue[Tokens] = queue.SimpleQueue()
        begin = time.monotonic()
        for number in range(together):
            self._number += 1
            ids = prompts[number % len(prompts)]
            request = GenerationRequest(self._number, ids, Sampling(max_tokens=tokens))
            self._engine.submit(request, received.put)
        ended = 0
        while ended < together:
            ended += bool(received.get().finish)
        seconds = time.monotonic() - begin
        after = self._engine.stats()
        proposed = (after.draft_tokens or 0) - (before.draft_tokens or 0)
        accepted = after.accepted_draft_tokens - before.accepted_draft_tokens
        return together * tokens / seconds, accepted / max(1, proposed)


def ways(engine_dir: Path, drafts: list[Path]) -> list[Way]:
    """Load an engine for each way."""
    settings = {NONE: OpenVinoSettings(), "prompt lookup": OpenVinoSettings(prompt_lookup=True)}
    settings |= {f"draft {draft.name}": OpenVinoSettings(draft_engine_dir=draft) for draft in drafts}
    return [Way(name, engine_dir, one) for name, one in settings.items()]


def measure(asked: argparse.Namespace, all_ways: list[Way], prompts: list[list[int]]) -> None:
    """Run the rounds; print a line for each way and number of requests."""
    for together in asked.together:
        ratios: dict[str, list[float]] = {way.name: [] for way in all_ways}
        accepted: dict[str, float] = {}
        none = []
        for number in range(asked.rounds + 1):
            rates = {}
            for way in all_ways:
                rates[way.name], accepted[way.name] = way.run(prompts, together, asked.tokens)
            if number:  # the first round warms up
                none.append(rates[NONE])
                for name, rate in rates.items():
                    ratios[name].append(rate / rates[NONE])
        for name, found in ratios.items():
            if name == NONE:
                sys.stderr.write(f"{together}: {statistics.median(none):.0f} tokens/s without\n")
                continue
            range_ = f"{min(found):.2f} to {max(found):.2f}"
            figures = f"{statistics.median(found):.2f} | {range_} | {100 * accepted[name]:.0f} %"
            sys.stdout.write(f"| {name} | {together} | {figures} |\n")
            sys.stdout.flush()


def main() -> None:
    """Measure every way."""
    parser = argparse.ArgumentParser(description="Speculative decoding against none.")
    parser.add_argument("engine_dir", type=Path)
    parser.add_argument("--drafts", type=Path, nargs="*", default=[])
    parser.add_argument("--together", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    asked = parser.parse_args()
    all_ways = ways(asked.engine_dir, asked.drafts)
    sys.stdout.write("| proposed by | at a time | speed over none | of rounds | accepted |\n")
    sys.stdout.write("|---|---|---|---|---|\n")
    measure(asked, all_ways, prompts_of(asked.engine_dir))


if __name__ == "__main__":
    main()
