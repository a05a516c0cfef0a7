# SPDX-License-Identifier: Apache-2.0
"""The options of a build, as a value."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from build_scripts.errors import BuildError


@dataclasses.dataclass(frozen=True)
class BuildOptions:
    """What one build was asked for; None where an option was not given.

    model: a hub name or a folder. Limits are in tokens and requests. trust_remote_code: whether the build may
    run Python code that the checkpoint contains.
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
    pipeline_parallel: int | None = None
    log_probs: bool = False
    calib_dataset: str | None = None
    examples: Path | None = None  # where NVIDIA's scripts are, if not where its image has them

    def refuse(self, options: tuple[str, ...], reason: str) -> None:
        """Raise BuildError naming the first of these options that was given."""
        for name in options:
            given = getattr(self, name)
            if given is not None and given is not False:
                raise BuildError(f"--{name.replace('_', '-')} {reason}")
