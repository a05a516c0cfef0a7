# SPDX-License-Identifier: Apache-2.0
"""The manifest of a build, from the results of its stages."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

from build_scripts.checkpoint import Checkpoint
from build_scripts.tokenizer import TokenizerFacts
from llm_ensemble.manifest import (
    SCHEMA,
    TOKENIZER,
    Limits,
    Manifest,
    Model,
    RequestDefaults,
    tokenizer_sha256,
)

DEFAULT_MAX_TOKENS = 128
LIBRARIES = ("openvino", "openvino-genai", "optimum-intel", "transformers", "torch", "nncf")


def make_manifest(
    folder: Path,
    checkpoint: Checkpoint,
    tokenizer: TokenizerFacts,
    limits: Limits,
    *,
    engine: str,
    precision: str,
    versions: dict[str, str],
    backend: str | None = None,
    tensor_parallel: int = 1,
    pipeline_parallel: int = 1,
) -> Manifest:
    """Return the manifest of the engine directory `folder`, whose engine/ and tokenizer/ are complete."""
    source = checkpoint.source
    return Manifest(
        schema=SCHEMA,
        engine=engine,
        backend=backend,
        model=Model(name=source.name, revision=source.revision, architecture=checkpoint.architecture),
        precision=precision,
        limits=limits,
        tensor_parallel=tensor_parallel,
        pipeline_parallel=pipeline_parallel,
        versions=versions,
        tokenizer_sha256=tokenizer_sha256(folder),
        defaults=_defaults(folder, checkpoint, limits, tokenizer),
    )


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries for openvino, by import name."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library.replace("-", "_")] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _defaults(
    folder: Path, checkpoint: Checkpoint, limits: Limits, tokenizer: TokenizerFacts
) -> RequestDefaults:
    """Return the defaults. Precedence: generation config, model config, tokenizer."""
    generation: dict[str, Any] = json.loads((folder / TOKENIZER / "generation_config.json").read_bytes())
    sources = (generation, checkpoint.config)
    ends = next((s["eos_token_id"] for s in sources if s.get("eos_token_id") is not None), tokenizer.end_id)
    pad = next((s["pad_token_id"] for s in sources if s.get("pad_token_id") is not None), tokenizer.pad_id)
    return RequestDefaults(
        max_tokens=min(DEFAULT_MAX_TOKENS, limits.max_seq_len - 1),
        end_ids=ends if isinstance(ends, list) else [] if ends is None else [ends],
        pad_id=pad,
    )
