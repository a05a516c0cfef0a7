# SPDX-License-Identifier: Apache-2.0
"""The command line of a build."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import NoReturn

from build_scripts.errors import BuildError
from build_scripts.options import BuildOptions
from build_scripts.targets import TARGETS, default_engine
from llm_ensemble.engines.tensorrt_llm.preflight import BACKENDS


def parse(arguments: list[str] | None) -> BuildOptions:
    """Return the options of a command line. Raise BuildError where it is wrong."""
    parser = _Parser(prog="build", description="Build an engine directory from a Hugging Face checkpoint.")
    _add_general(parser)
    _add_for_gpus(parser.add_argument_group("for --engine tensorrt_llm and vllm"))
    _add_for_vllm(parser.add_argument_group("for --engine vllm"))
    _add_for_tensorrt_llm(parser.add_argument_group("for --engine tensorrt_llm"))
    given = vars(parser.parse_args(arguments))
    output = given["output"] or Path("engines", os.path.basename(os.path.abspath(given["model"])))
    for option, path in (("--model", given["model"]), ("--output", output.absolute())):
        _check_utf_8(option, os.fspath(path))
    options = BuildOptions(**given | {"engine": given["engine"] or default_engine(), "output": output})
    _refuse_options_of_others(options)
    allowed = TARGETS[options.engine].precisions
    if options.precision is not None and options.precision not in allowed:
        raise BuildError(
            f"--precision {options.precision} is not one of --engine {options.engine}: " + ", ".join(allowed)
        )
    return options


def _refuse_options_of_others(options: BuildOptions) -> None:
    for name, target in TARGETS.items():
        others = tuple(option for option in target.options if option not in TARGETS[options.engine].options)
        options.refuse(others, f"is for --engine {name}; {options.engine} does not have it")


def _check_utf_8(option: str, path: str) -> None:
    """Raise BuildError unless the path is UTF-8, as the libraries of a build read it."""
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError as error:
        raise BuildError(f"{option} {path!a} is not UTF-8: rename the folder") from error


def _add_general(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    precisions = sorted({precision for target in TARGETS.values() for precision in target.precisions})
    add("--model", required=True, help="hub name (owner/name) or local folder")
    add("--output", type=Path, help="engine directory to write or replace (default: in engines/, by --model)")
    add(
        "--engine",
        choices=TARGETS,
        help="default: tensorrt_llm or vllm, if it and a GPU are present, else openvino",
    )
    add(
        "--precision",
        choices=precisions,
        help="openvino: " + ", ".join(TARGETS["openvino"].precisions) + " (default int8); tensorrt_llm: "
        + ", ".join(TARGETS["tensorrt_llm"].precisions) + " (default: the checkpoint's own 16 bits); vllm: "
        + ", ".join(TARGETS["vllm"].precisions) + " (default: as the checkpoint is)",
    )  # fmt: skip
    add(
        "--max-seq-len",
        type=int,
        help="tokens of prompt and completion (default: at most 2048; on GPUs 8192)",
    )
    add("--max-batch-size", type=int, help="requests run at once (default: 32; tensorrt_llm 128, vllm 256)")
    add("--trust-remote-code", action="store_true", help="run Python code of the checkpoint (default: no)")


def _add_for_gpus(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--max-input-len", type=int, help="tokens of a prompt (default: max-seq-len less one)")
    add("--max-num-tokens", type=int, help="tokens of one step, over all requests (default: 8192)")
    add("--max-beam-width", type=int, help="beams of one request (default: 1)")
    add("--tensor-parallel", type=int, metavar="GPUS", help="GPUs that share each layer (default: 1)")


def _add_for_vllm(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--pipeline-parallel",
        type=int,
        metavar="GROUPS",
        help="groups of --tensor-parallel GPUs between which the layers are divided (default: 1)",
    )


def _add_for_tensorrt_llm(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--backend",
        choices=BACKENDS,
        help="tensorrt: an engine for this kind of GPU (default); pytorch: the checkpoint unchanged",
    )
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
    """A parser that raises BuildError, where argparse would print its usage and exit with 2."""

    def error(self, message: str) -> NoReturn:
        raise BuildError(f"{message}; see: python -m build_scripts.build --help")
