# SPDX-License-Identifier: Apache-2.0
"""The price of a guide: tokens/s of 32 requests with a small JSON schema over the same without, in turns.

python -m benchmarks.guided engines/demo [rounds]
"""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from pathlib import Path

from llm_ensemble.contract.guide import Guide
from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.kinds import load_engine, read_engine_settings
from llm_ensemble.engines.protocol import Engine, GenerationRequest, Tokens
from llm_ensemble.manifest import read_manifest
from llm_ensemble.settings import Settings

REQUESTS = 32
# An array of which no text ends within the tokens, so that all sequences run as long.
ITEM = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
}
SCHEMA = {"type": "array", "items": ITEM, "minItems": 100}


def tokens_per_second(engine: Engine, guide: Guide | None, end_ids: list[int], first_id: int) -> float:
    """Return the speed of REQUESTS at once."""
    ended, count, lock = threading.Semaphore(0), [0], threading.Lock()

    def on_tokens(tokens: Tokens) -> None:
        with lock:
            count[0] += len(tokens.token_ids)
        if tokens.finish or tokens.error:
            ended.release()

    began = time.monotonic()
    for number in range(REQUESTS):
        sampling = Sampling(
            max_tokens=128, min_tokens=0, end_ids=end_ids if guide else [], guide=guide,
            greedy=False, seed=number,
        )  # fmt: skip
        engine.submit(GenerationRequest(first_id + number, [5, 300, 400], sampling), on_tokens)
    for _ in range(REQUESTS):
        ended.acquire()
    return count[0] / (time.monotonic() - began)


def main(engine_dir: Path, rounds: int) -> None:
    """Print the speeds of each round and their ratio."""
    manifest = read_manifest(engine_dir)
    engine = load_engine(manifest, Settings(engine_dir, engine=read_engine_settings(manifest.engine)))
    guide = Guide("json_schema", json.dumps(SCHEMA))
    ratios = []
    for number in range(-1, rounds):  # the first warms up, and compiles
        plain, guided = (
            tokens_per_second(engine, one, manifest.defaults.end_ids, 1000 * (2 * number + 2 + bool(one)))
            for one in (None, guide)
        )
        if number >= 0:
            ratios.append(guided / plain)
            print(f"plain {plain:.0f}, guided {guided:.0f} tokens/s: {ratios[-1]:.2f}")  # noqa: T201
    print(f"median ratio {statistics.median(ratios):.2f}")  # noqa: T201
    engine.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5)
