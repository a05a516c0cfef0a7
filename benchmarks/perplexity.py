# SPDX-License-Identifier: Apache-2.0
"""How well built engines predict a text: the price of each precision, as a Markdown table.

    python -m benchmarks.perplexity engines/demo-fp16 engines/demo-int4 --text heldout.txt

Teacher forcing through the IR that is served, in float32 arithmetic (see ir.py). The text is read in windows
of 512 tokens (fewer where the engine holds fewer), each half a window further on, and scored where it was not
scored yet: every token is scored once, and all but the first window's with at least half a window before it.
Needs openvino, tokenizers and msgspec; no torch.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from build_scripts.openvino.compress import IR
from build_scripts.openvino.openvino_model import CausalModel
from llm_ensemble.errors import EngineDirectoryError
from llm_ensemble.manifest import ENGINE, read_manifest
from llm_ensemble.preprocessing.preprocessor import load_tokenizer

WINDOW = 512  # tokens


@dataclasses.dataclass(frozen=True)
class Score:
    """What an engine makes of a text: sum of -ln p over the scored tokens, their number, the text's bytes."""

    nats: float
    tokens: int
    text_bytes: int

    @property
    def perplexity(self) -> float:
        """Per token of the engine's own tokenizer."""
        return math.exp(self.nats / self.tokens)

    @property
    def bits_per_byte(self) -> float:
        """Comparable across tokenizers."""
        return self.nats / math.log(2) / self.text_bytes


def measure(engine_dir: Path, text: str) -> Score:
    """Return the score of a text. Raise EngineDirectoryError if `engine_dir` is not an engine directory."""
    limit = read_manifest(engine_dir).limits.max_seq_len
    tokenizer = load_tokenizer(engine_dir)
    beginning = tokenizer.encode("").ids  # what the model expects before a text, as </s>; often nothing
    token_ids = tokenizer.encode(text, add_special_tokens=False).ids
    model = CausalModel(engine_dir / ENGINE)
    nats, tokens = 0.0, 0
    for start, end, new in windows(len(token_ids), min(WINDOW, limit) - len(beginning)):
        new = max(new, 0 if beginning else 1)  # nothing predicts a token that nothing precedes
        model.reset()
        logits = model.logits(beginning + token_ids[start:end])
        nats += surprise(logits[len(beginning) + new - start - 1 : -1], token_ids[new:end])
        tokens += end - new
    return Score(nats, tokens, len(text.encode()))


def windows(total: int, window: int) -> Iterator[tuple[int, int, int]]:
    """Yield (start, end, new): read tokens start to end, score those from `new` on; all are scored once."""
    new = 0
    for start in range(0, total, max(window // 2, 1)):
        end = min(start + window, total)
        yield start, end, new
        new = end
        if end == total:
            return


def surprise(logits: npt.NDArray[np.float32], token_ids: list[int]) -> float:
    """Sum of -ln p of each token, in float64; its row of `logits` [tokens, vocabulary] predicts it."""
    wide = logits.astype(np.float64)
    top = wide.max(axis=-1)
    normalizer = top + np.log(np.exp(wide - top[:, None]).sum(axis=-1))
    return float((normalizer - wide[np.arange(len(token_ids)), token_ids]).sum())


def table(engine_dirs: list[Path], text: str) -> Iterator[str]:
    """Yield the lines of a Markdown table, an engine a line, each as soon as it is measured."""
    yield "| precision | weights | perplexity per token | bits per byte |"
    yield "|---|---|---|---|"
    for folder in engine_dirs:
        score = measure(folder, text)
        size = (folder / ENGINE / IR).with_suffix(".bin").stat().st_size / 1e6
        precision = read_manifest(folder).precision
        yield f"| {precision} | {size:.2f} MB | {score.perplexity:.3f} | {score.bits_per_byte:.4f} |"


def main(arguments: list[str] | None = None) -> int:
    """Write the table to stdout; 1 and one line on stderr where an engine or the text cannot be read."""
    parser = argparse.ArgumentParser(prog="perplexity", description="Perplexity of built engines on a text.")
    parser.add_argument("engine_dirs", nargs="+", type=Path, metavar="ENGINE_DIR")
    parser.add_argument("--text", required=True, type=Path, help="UTF-8 text the model was not trained on")
    options = parser.parse_args(arguments)
    try:
        for line in table(options.engine_dirs, options.text.read_text(encoding="utf-8")):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    except (EngineDirectoryError, OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"perplexity: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
