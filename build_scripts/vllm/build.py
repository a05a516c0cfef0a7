# SPDX-License-Identifier: Apache-2.0
"""A build for vLLM: fetch, tokenizer, weights, and verify where it can be done.

Nothing is converted: vLLM reads the checkpoint. The plan comes first, from the checkpoint's JSON alone, so
that a build is refused before gigabytes are fetched.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from build_scripts.checkpoint import Checkpoint, inspect_checkpoint
from build_scripts.checkpoint_weights import write_generation_config
from build_scripts.errors import BuildError
from build_scripts.fetch import fetch
from build_scripts.limits import gpu_limits, pipeline_parallel, tensor_parallel
from build_scripts.manifest import make_manifest
from build_scripts.options import BuildOptions
from build_scripts.progress import Progress
from build_scripts.remote_code import refuse_unservable_code
from build_scripts.vllm.architectures import OWN_CONFIGURATIONS, SUPPORTED
from build_scripts.vllm.installed import versions
from build_scripts.vllm.precision import resolve_precision
from build_scripts.vllm.verify import obstacle, verify
from build_scripts.vllm.weights import place_checkpoint
from llm_ensemble.manifest import ENGINE, TOKENIZER, Limits, write_manifest

# Options that have a meaning for this target, but not for every one.
OPTIONS = ("max_input_len", "max_num_tokens", "max_beam_width", "tensor_parallel", "pipeline_parallel")
DEFAULT_BATCH_SIZE = 256


@dataclasses.dataclass(frozen=True)
class Plan:
    """A build with every choice made."""

    precision: str
    limits: Limits
    tensor_parallel: int
    pipeline_parallel: int


def build_for_vllm(folder: Path, options: BuildOptions, progress: Progress) -> None:
    """Build for vLLM into the empty folder. Raise BuildError."""
    plan = resolve_plan(options, _fetch_checkpoint(options, weights=False))
    missing = obstacle(plan.tensor_parallel * plan.pipeline_parallel)
    progress.total = 3 if missing else 4
    with progress.stage("fetch", options.model, quiet=False):
        checkpoint = _fetch_checkpoint(options, weights=True)
    with progress.stage("tokenizer", "tokenizer.json"):
        from build_scripts.tokenizer import write_tokenizer

        tokenizer = write_tokenizer(checkpoint, folder / TOKENIZER)
        write_generation_config(checkpoint, folder / TOKENIZER)
    with progress.stage("weights", plan.precision):
        progress.note(f"{place_checkpoint(checkpoint, folder / ENGINE) / 1e6:,.0f} MB")
    manifest = make_manifest(
        folder,
        checkpoint,
        tokenizer,
        plan.limits,
        engine=options.engine,
        precision=plan.precision,
        tensor_parallel=plan.tensor_parallel,
        pipeline_parallel=plan.pipeline_parallel,
        versions=versions(),
    )
    if missing:
        progress.show(
            f"not verified: {missing}; whether vLLM loads it will be seen when it is served\n".encode()
        )
    else:
        with progress.stage("verify", "that it loads and generates"):
            progress.note(f"{len(verify(folder, manifest, tokenizer.sample_ids))} tokens")
    write_manifest(folder, manifest)


def resolve_plan(options: BuildOptions, checkpoint: Checkpoint) -> Plan:
    """Return the plan. Raise BuildError for what vLLM cannot do."""
    if options.trust_remote_code:
        refuse_unservable_code(checkpoint.source, OWN_CONFIGURATIONS)
    limits = gpu_limits(options, checkpoint.positions, DEFAULT_BATCH_SIZE)
    if limits.max_beam_width > 1:
        raise BuildError(
            f"--max-beam-width {limits.max_beam_width}: vLLM serves no beam search; leave it out"
        )
    return Plan(
        resolve_precision(options, checkpoint),
        limits,
        tensor_parallel(options, checkpoint.config),
        pipeline_parallel(options, checkpoint.config),
    )


def _fetch_checkpoint(options: BuildOptions, *, weights: bool) -> Checkpoint:
    source = fetch(options.model, code=options.trust_remote_code, weights=weights)
    return inspect_checkpoint(source, SUPPORTED, trust_remote_code=options.trust_remote_code)
