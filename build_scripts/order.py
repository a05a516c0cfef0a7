# SPDX-License-Identifier: Apache-2.0
"""What is to be built: the command line of a build, as a value."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import NoReturn

from build_scripts.build_error import BuildError
from build_scripts.compress import PRECISIONS
from llm_ensemble.manifest import Limits

USUAL_SEQ_LEN = 2048  # the KV cache of longer texts is for those who ask for it
MOST_BEAMS = 8  # OpenVINO knows no limit; each beam takes a place in the batch
STEP_TOKENS = 256  # openvino-genai's own default for the tokens of one step


@dataclasses.dataclass(frozen=True)
class Order:
    """One build: hub name or folder, where to, weight precision, and limits in tokens and requests."""

    model: str
    output: Path
    precision: str = "int8"
    max_seq_len: int | None = None
    max_batch_size: int = 32
    trust_remote_code: bool = False  # whether code that the checkpoint brings may run, in the build

    def limits(self, positions: int) -> Limits:
        """The engine's limits, for a model of so many positions. Raises BuildError where they cannot be."""
        seq_len = min(positions, USUAL_SEQ_LEN) if self.max_seq_len is None else self.max_seq_len
        if not 2 <= seq_len <= positions:
            raise BuildError(
                f"--max-seq-len {seq_len}: the model has {positions} positions; give 2 to {positions}"
            )
        if self.max_batch_size < 1:
            raise BuildError(f"--max-batch-size {self.max_batch_size}: give 1 or more")
        return Limits(
            max_batch_size=self.max_batch_size,
            max_input_len=seq_len - 1,
            max_seq_len=seq_len,
            max_num_tokens=max(STEP_TOKENS, self.max_batch_size),
            max_beam_width=min(MOST_BEAMS, self.max_batch_size),
        )


def parse(arguments: list[str] | None) -> Order:
    """Read the command line. Raises BuildError where it is wrong."""
    parser = _Parser(prog="build", description="A Hugging Face checkpoint to an engine directory for CPUs.")
    parser.add_argument("--model", required=True, help="hub name (owner/name) or local folder")
    parser.add_argument("--output", required=True, type=Path, help="engine directory to write or replace")
    parser.add_argument(
        "--precision", default="int8", choices=PRECISIONS, help="of the weights (default: int8)"
    )
    parser.add_argument(
        "--max-seq-len", type=int, help="prompt and completion, tokens (default: at most 2048)"
    )
    parser.add_argument("--max-batch-size", type=int, default=32, help="requests run at once (default: 32)")
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="run code that the checkpoint brings (default: no)"
    )
    return Order(**vars(parser.parse_args(arguments)))


class _Parser(argparse.ArgumentParser):
    """argparse would write its usage and exit with 2; a build answers every mistake in one way."""

    def error(self, message: str) -> NoReturn:
        raise BuildError(f"{message}; see: python -m build_scripts.build --help")
