# SPDX-License-Identifier: Apache-2.0
"""The stages of a build for NVIDIA GPUs, served by TensorRT-LLM.

Engine backend: fetch, tokenizer, convert (to TensorRT-LLM's own checkpoint, quantized on the way), engine.
PyTorch backend: fetch, tokenizer, weights, which are taken as they are. Before any of it the order is decided
on the checkpoint's JSON alone, so that what cannot be is refused before gigabytes are fetched.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from build_scripts.build_error import BuildError
from build_scripts.checkpoint import Checkpoint, look, require_weights
from build_scripts.command_lines import EXAMPLES, check_tools, convert_command, engine_command
from build_scripts.commands import run
from build_scripts.describe import describe
from build_scripts.engine_files import missing_file
from build_scripts.families import SUPPORTED
from build_scripts.fetch import fetch
from build_scripts.gpu import Gpu, find_gpus, visible
from build_scripts.order import Order
from build_scripts.plan import Plan, decide
from build_scripts.progress import Progress
from build_scripts.stored import take_weights, write_generation_config
from build_scripts.trtllm import versions
from llm_ensemble.manifest import ENGINE, TOKENIZER, write_manifest

CONVERTED = "checkpoint"  # TensorRT-LLM's, of use to the build alone


def build_for_gpus(folder: Path, order: Order, progress: Progress) -> None:
    """Build `order` into the empty folder. Raises BuildError."""
    gpus = _visible_gpus()
    checkpoint = _find(order, weights=False)
    plan = decide(order, checkpoint, gpus)
    if plan.backend == "tensorrt":
        check_tools(_convert_command(folder, order, plan, checkpoint), checkpoint.folder)
    progress.total = 4 if plan.backend == "tensorrt" else 3
    with progress.stage("fetch", order.model, quiet=False):
        checkpoint = _find(order, weights=True)
        require_weights(checkpoint)
    with progress.stage("tokenizer", "tokenizer.json"):
        from build_scripts.tokenizer import write_tokenizer

        tokenizer = write_tokenizer(checkpoint, folder / TOKENIZER)
        write_generation_config(checkpoint, folder / TOKENIZER)
    if plan.backend == "tensorrt":
        _build_engine(folder, order, plan, checkpoint, progress)
    else:
        with progress.stage("weights", plan.precision):
            take_weights(checkpoint, folder / ENGINE)
    missing = missing_file(folder, order.engine, plan.backend, plan.tensor_parallel)
    if missing:
        raise BuildError(f"the build ended well and made no {missing}: please report it with its output")
    made = describe(
        folder,
        checkpoint,
        tokenizer,
        plan.limits,
        engine=order.engine,
        backend=plan.backend,
        precision=plan.precision,
        tensor_parallel=plan.tensor_parallel,
        versions=versions(gpus),
    )
    write_manifest(folder, made)


def _build_engine(folder: Path, order: Order, plan: Plan, checkpoint: Checkpoint, progress: Progress) -> None:
    with progress.stage("convert", f"{plan.family.name} to {plan.precision}", live=True):
        run(_convert_command(folder, order, plan, checkpoint), progress)
    with progress.stage("engine", f"for {plan.tensor_parallel} GPU(s)", live=True):
        run(engine_command(plan, folder / CONVERTED, folder / ENGINE), progress)
    shutil.rmtree(folder / CONVERTED)


def _convert_command(folder: Path, order: Order, plan: Plan, checkpoint: Checkpoint) -> list[str]:
    examples = order.examples or EXAMPLES
    return convert_command(plan, checkpoint.folder.absolute(), folder / CONVERTED, examples)


def _find(order: Order, *, weights: bool) -> Checkpoint:
    source = fetch(order.model, code=order.trust_remote_code, weights=weights)
    return look(source, SUPPORTED, trust_remote_code=order.trust_remote_code)


def _visible_gpus() -> list[Gpu]:
    gpus = find_gpus()
    return [gpus[number] for number in visible(gpus)]
