# SPDX-License-Identifier: Apache-2.0
"""What is to be built: the command line of a build, as a value."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import NoReturn

from build_scripts import compress, families
from build_scripts.build_error import BuildError
from build_scripts.limits import cpu_limits, gpu_limits
from build_scripts.trtllm import default_engine
from llm_ensemble.manifest import Limits

ENGINES = {"tensorrt_llm": families.PRECISIONS, "openvino": compress.PRECISIONS}
# What means something to tensorrt_llm alone: openvino has no parts to choose from, and runs on one machine.
FOR_GPUS = (
    "backend",
    "max_input_len",
    "max_num_tokens",
    "max_beam_width",
    "tensor_parallel",
    "log_probs",
    "calib_dataset",
    "examples",
)


@dataclasses.dataclass(frozen=True)
class Order:
    """One build: hub name or folder, where to, and what was asked for; None is whatever is usual.

    Limits are in tokens and requests. trust_remote_code: whether code that the checkpoint brings may run,
    in the build.
    """

    model: str
    output: Path
    precision: str | None = None
    max_seq_len: int | None = None
    max_batch_size: int | None = None
    trust_remote_code: bool = False
    engine: str = "openvino"
    backend: str | None = None
    max_input_len: int | None = None
    max_num_tokens: int | None = None
    max_beam_width: int | None = None
    tensor_parallel: int | None = None
    log_probs: bool = False
    calib_dataset: str | None = None
    examples: Path | None = None  # where NVIDIA's scripts are, if not where its image has them

    def limits(self, positions: int) -> Limits:
        """The engine's limits, for a model of so many positions. Raises BuildError where they cannot be."""
        return (gpu_limits if self.engine == "tensorrt_llm" else cpu_limits)(self, positions)

    def refuse(self, options: tuple[str, ...], reason: str) -> None:
        """Raise BuildError naming the first of these options that was given."""
        for name in options:
            given = getattr(self, name)
            if given is not None and given is not False:
                raise BuildError(f"--{name.replace('_', '-')} {reason}")


def parse(arguments: list[str] | None) -> Order:
    """Read the command line. Raises BuildError where it is wrong."""
    parser = _Parser(prog="build", description="A Hugging Face checkpoint to an engine directory.")
    _add_general(parser)
    _add_for_gpus(parser.add_argument_group("for --engine tensorrt_llm"))
    given = vars(parser.parse_args(arguments))
    order = Order(**given | {"engine": given["engine"] or default_engine()})
    if order.engine == "openvino":
        order.refuse(FOR_GPUS, "is for --engine tensorrt_llm; openvino knows no such thing")
    allowed = ENGINES[order.engine]
    if order.precision is not None and order.precision not in allowed:
        raise BuildError(
            f"--precision {order.precision} is not one of --engine {order.engine}: " + ", ".join(allowed)
        )
    return order


def _add_general(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    precisions = sorted({precision for allowed in ENGINES.values() for precision in allowed})
    add("--model", required=True, help="hub name (owner/name) or local folder")
    add("--output", required=True, type=Path, help="engine directory to write or replace")
    add("--engine", choices=ENGINES, help="default: tensorrt_llm where it and a GPU are here, else openvino")
    add(
        "--precision",
        choices=precisions,
        help="openvino: " + ", ".join(compress.PRECISIONS) + " (default int8); tensorrt_llm: "
        + ", ".join(families.PRECISIONS) + " (default: the checkpoint's own 16 bits)",
    )  # fmt: skip
    add("--max-seq-len", type=int, help="prompt and completion, tokens (default: at most 2048; on GPUs 8192)")
    add("--max-batch-size", type=int, help="requests run at once (default: 32; on GPUs 128)")
    add("--trust-remote-code", action="store_true", help="run code that the checkpoint brings (default: no)")


def _add_for_gpus(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--backend",
        choices=families.BACKENDS,
        help="tensorrt: an engine for this very kind of GPU (default); pytorch: the checkpoint as it is",
    )
    add("--max-input-len", type=int, help="prompt alone, tokens (default: max-seq-len less one)")
    add("--max-num-tokens", type=int, help="tokens of one step, over all requests (default: 8192)")
    add("--max-beam-width", type=int, help="beams of one request (default: 1)")
    add("--tensor-parallel", type=int, metavar="GPUS", help="GPUs that share one model (default: 1)")
    add(
        "--log-probs",
        action="store_true",
        help="keep what return_log_probs needs; costs memory (float32 logits of a whole vocabulary for each "
        "token of each running request) and time. Without it the engine refuses return_log_probs",
    )
    add("--calib-dataset", help="texts for fp8, int4_awq and smoothquant: a hub name, or a local folder with "
        "a train split and a text column (default: cnn_dailymail, from the hub)")  # fmt: skip
    add(
        "--examples", type=Path, help="TensorRT-LLM's examples (default: /app/examples, as in NVIDIA's image)"
    )


class _Parser(argparse.ArgumentParser):
    """argparse would write its usage and exit with 2; a build answers every mistake in one way."""

    def error(self, message: str) -> NoReturn:
        raise BuildError(f"{message}; see: python -m build_scripts.build --help")
