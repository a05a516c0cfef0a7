# SPDX-License-Identifier: Apache-2.0
"""Make an engine directory that computes nothing, out of the demo model's tokenizer.

python -m benchmarks.pace.make_engine engines/pace
PACE_TTFT_MS=50 PACE_INTERVAL_MS=5 make serve ENGINE_DIR=engines/pace
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from benchmarks.pace.kind import NAME
from llm_ensemble.manifest import (
    ENGINE,
    SCHEMA,
    TOKENIZER,
    Limits,
    Manifest,
    Model,
    RequestDefaults,
    tokenizer_sha256,
    write_manifest,
)

DEMO = Path(__file__).resolve().parents[2] / "models/demo"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")
LIMITS = Limits(max_batch_size=512, max_input_len=4095, max_seq_len=4096, max_num_tokens=4096)
END_ID, PAD_ID = 0, 1  # the demo model's


def make_pace_engine(folder: Path, limits: Limits = LIMITS) -> Path:
    """Write the engine directory; what is there is replaced. Returns it."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / ENGINE).mkdir(parents=True)
    (folder / TOKENIZER).mkdir()
    for name in TOKENIZER_FILES:
        shutil.copy(DEMO / name, folder / TOKENIZER)
    manifest = Manifest(
        schema=SCHEMA,
        engine=NAME,
        model=Model(name="pace", revision=None, architecture="none"),
        precision="none",
        limits=limits,
        tensor_parallel=1,
        versions={},
        tokenizer_sha256=tokenizer_sha256(folder),
        defaults=RequestDefaults(max_tokens=128, end_ids=[END_ID], pad_id=PAD_ID),
    )
    write_manifest(folder, manifest)
    return folder


def main() -> None:
    """Make it and say so."""
    parser = argparse.ArgumentParser(description="Make an engine directory that computes nothing.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("engines/pace"))
    folder = make_pace_engine(parser.parse_args().folder)
    sys.stdout.write(f"{folder}: set PACE_TTFT_MS and PACE_INTERVAL_MS when serving it\n")


if __name__ == "__main__":
    main()
