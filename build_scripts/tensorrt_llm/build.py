# SPDX-License-Identifier: Apache-2.0
"""A build for tensorrt_llm.

Engine backend: fetch, tokenizer, convert (to TensorRT-LLM's own checkpoint, quantized there), engine.
PyTorch backend: fetch, tokenizer, weights (copied). The plan comes first, from the checkpoint's JSON alone,
so that a build is refused before gigabytes are fetched.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from build_scripts.checkpoint import Checkpoint, inspect_checkpoint, require_weights
from build_scripts.checkpoint_weights import copy_weights, write_generation_config
from build_scripts.errors import BuildError
from build_scripts.fetch import fetch
from build_scripts.manifest import make_manifest
from build_scripts.options import BuildOptions
from build_scripts.progress import Progress
from build_scripts.tensorrt_llm.command_lines import check_tools, convert_command, engine_command
from build_scripts.tensorrt_llm.commands import run
from build_scripts.tensorrt_llm.families import SUPPORTED
from build_scripts.tensorrt_llm.installed import versions
from build_scripts.tensorrt_llm.plan import Plan, resolve_plan
from llm_ensemble.engines.gpu_inventory import Gpu, find_gpus, visible
from llm_ensemble.engines.kinds import engine_kind
from llm_ensemble.manifest import ENGINE, TOKENIZER, write_manifest

# Options that have a meaning for this target alone.
OPTIONS = (
    "backend",
    "max_input_len",
    "max_num_tokens",
    "max_beam_width",
    "tensor_parallel",
    "log_probs",
    "calib_dataset",
    "examples",
)
STAGES = {"tensorrt": 4, "pytorch": 3}


def build_for_gpus(folder: Path, options: BuildOptions, progress: Progress) -> None:
    """Build for tensorrt_llm into the empty folder. Raise BuildError."""
    gpus = _visible_gpus()
    plan = _make_plan(options, gpus)
    progress.total = STAGES[plan.backend]
    with progress.stage("fetch", options.model, quiet=False):
        checkpoint = _fetch_checkpoint(options, weights=True)
        require_weights(checkpoint)
    with progress.stage("tokenizer", "tokenizer.json"):
        from build_scripts.tokenizer import write_tokenizer

        tokenizer = write_tokenizer(checkpoint, folder / TOKENIZER)
        write_generation_config(checkpoint, folder / TOKENIZER)
    if plan.backend == "tensorrt":
        _build_engines(plan, checkpoint, folder, progress)
    else:
        with progress.stage("weights", plan.precision):
            copy_weights(checkpoint, folder / ENGINE)
    missing = engine_kind(options.engine).missing_file(folder, plan.backend, plan.tensor_parallel)
    if missing:
        raise BuildError(f"the build ended well and made no {missing}: please report it with its output")
    manifest = make_manifest(
        folder,
        checkpoint,
        tokenizer,
        plan.limits,
        engine=options.engine,
        backend=plan.backend,
        precision=plan.precision,
        tensor_parallel=plan.tensor_parallel,
        versions=versions(gpus),
    )
    write_manifest(folder, manifest)


def _make_plan(options: BuildOptions, gpus: Sequence[Gpu]) -> Plan:
    """Return the plan, made before weights are fetched. Raise BuildError if it cannot be built here."""
    checkpoint = _fetch_checkpoint(options, weights=False)
    plan = resolve_plan(options, checkpoint, gpus)
    if plan.backend == "tensorrt":
        check_tools(plan, checkpoint.folder)
    return plan


def _build_engines(plan: Plan, checkpoint: Checkpoint, folder: Path, progress: Progress) -> None:
    converted = folder / "checkpoint"  # TensorRT-LLM's own, needed by the build alone
    with progress.stage("convert", f"{plan.family.name} to {plan.precision}", live=True):
        run(convert_command(plan, checkpoint.folder.absolute(), converted), progress)
    with progress.stage("engine", f"for {plan.tensor_parallel} GPU(s)", live=True):
        run(engine_command(plan, converted, folder / ENGINE), progress)
    shutil.rmtree(converted)


def _fetch_checkpoint(options: BuildOptions, *, weights: bool) -> Checkpoint:
    source = fetch(options.model, code=options.trust_remote_code, weights=weights)
    return inspect_checkpoint(source, SUPPORTED, trust_remote_code=options.trust_remote_code)


def _visible_gpus() -> list[Gpu]:
    gpus = find_gpus()
    return [gpus[number] for number in visible(gpus)]
