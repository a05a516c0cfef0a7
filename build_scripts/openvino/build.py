# SPDX-License-Identifier: Apache-2.0
"""A build for openvino: fetch, tokenizer, export, weights, verify."""

from __future__ import annotations

import shutil
from pathlib import Path

from build_scripts.checkpoint import read_checkpoint
from build_scripts.fetch import fetch
from build_scripts.manifest import library_versions, make_manifest
from build_scripts.openvino.limits import cpu_limits
from build_scripts.options import BuildOptions
from build_scripts.progress import Progress
from llm_ensemble.manifest import ENGINE, TOKENIZER, write_manifest

DEFAULT_PRECISION = "int8"


def build_for_cpus(folder: Path, options: BuildOptions, progress: Progress) -> None:
    """Build for openvino into the empty folder. Raise BuildError.

    Each stage imports its libraries when it runs, so that a refusal does not take seconds.
    """
    precision = options.precision or DEFAULT_PRECISION
    with progress.stage("fetch", options.model, quiet=False):
        source = fetch(options.model, code=options.trust_remote_code)
        checkpoint = read_checkpoint(source, trust_remote_code=options.trust_remote_code)
        limits = cpu_limits(options, checkpoint.positions)
    with progress.stage("tokenizer", "tokenizer.json"):
        from build_scripts.tokenizer import write_tokenizer

        tokenizer = write_tokenizer(checkpoint, folder / TOKENIZER)
        sample = tokenizer.sample_ids[: checkpoint.positions]
    with progress.stage("export", checkpoint.architecture):
        from build_scripts.openvino.export import export

        reference = export(checkpoint, sample, folder / ENGINE, full_precision=precision == "fp32")
        shutil.copy(folder / ENGINE / "generation_config.json", folder / TOKENIZER)
    with progress.stage("weights", precision):
        from build_scripts.openvino.compress import compress

        compress(folder / ENGINE, precision, checkpoint.config)
    with progress.stage("verify", "logits against transformers'"):
        from build_scripts.openvino.verify import verify

        distance = verify(folder / ENGINE, precision, sample, reference)
        progress.note(f"{distance:.2g} of their spread apart")
    manifest = make_manifest(
        folder,
        checkpoint,
        tokenizer,
        limits,
        engine=options.engine,
        precision=precision,
        versions=library_versions(),
    )
    write_manifest(folder, manifest)
