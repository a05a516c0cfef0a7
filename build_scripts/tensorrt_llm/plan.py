# SPDX-License-Identifier: Apache-2.0
"""The plan of a build for GPUs: backend, precision, limits, scripts.

It is made from the checkpoint's JSON, the table of families and the GPUs, before any command runs. What
cannot be built is refused here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from build_scripts.checkpoint import Checkpoint
from build_scripts.checkpoint_weights import stored_precision
from build_scripts.errors import BuildError
from build_scripts.limits import gpu_limits, tensor_parallel
from build_scripts.options import BuildOptions
from build_scripts.tensorrt_llm.families import FAMILIES, QFORMATS, Family, nearest
from build_scripts.tensorrt_llm.installed import require_engine_backend
from llm_ensemble.engines.gpu_inventory import CAPABILITY, NO_GPU, Gpu, too_old_for
from llm_ensemble.manifest import Limits

EXAMPLES = Path("/app/examples")  # in NVIDIA's image
DEFAULT_BATCH_SIZE = 128  # activations and sampling buffers grow with it; a GPU is busy by then


@dataclasses.dataclass(frozen=True)
class Plan:
    """A build with every choice made.

    dtype: of the tensors that are not quantized, as NVIDIA's scripts call it. examples: the folder of those
    scripts.
    """

    family: Family
    backend: str
    precision: str
    dtype: str
    limits: Limits
    tensor_parallel: int
    log_probs: bool
    calib_dataset: str | None
    examples: Path = EXAMPLES


def resolve_plan(options: BuildOptions, checkpoint: Checkpoint, gpus: Sequence[Gpu]) -> Plan:
    """Return the plan for these (visible) GPUs. Raise BuildError, which names the nearest that works."""
    family = FAMILIES[checkpoint.architecture]
    backend = options.backend or ("tensorrt" if family.precisions else "pytorch")
    _check_backend(family, backend)
    gpus_each = tensor_parallel(options, checkpoint.config)
    limits = gpu_limits(options, checkpoint.positions, DEFAULT_BATCH_SIZE)
    if backend == "pytorch":
        options.refuse(("log_probs", "calib_dataset", "examples"), "is for --backend tensorrt")
        _refuse_beams(limits)
        precision = _as_stored(options, checkpoint)
    else:
        require_engine_backend(family.pytorch)
        if checkpoint.quantized:
            other = ", or use --backend pytorch" if family.pytorch else ""
            raise BuildError(
                f"{checkpoint.source.name} is quantized already: give the original checkpoint{other}"
            )
        if not gpus:
            raise BuildError(NO_GPU)
        precision = options.precision or _default_precision(family, checkpoint, gpus)
        _check_precision(family, precision, gpus)
    if options.calib_dataset and precision not in QFORMATS:
        raise BuildError(
            f"--calib-dataset is for {', '.join(QFORMATS)}: {precision} is not calibrated; leave it out"
        )
    dtype = "bfloat16" if _wants_bfloat16(precision, checkpoint, gpus) else "float16"
    return Plan(
        family,
        backend,
        precision,
        dtype,
        limits,
        gpus_each,
        options.log_probs,
        options.calib_dataset,
        options.examples or EXAMPLES,
    )


def _refuse_beams(limits: Limits) -> None:
    """Raise BuildError above 1: the PyTorch backend runs every request with max_beam_width beams."""
    if limits.max_beam_width > 1:
        raise BuildError(
            f"--max-beam-width {limits.max_beam_width}: --backend pytorch serves no beam search; leave it out"
        )


def _check_backend(family: Family, backend: str) -> None:
    if backend == "pytorch" and not family.pytorch:
        raise BuildError(
            f"TensorRT-LLM's PyTorch backend does not serve {family.name}: use --backend tensorrt"
        )
    if backend == "tensorrt" and not family.precisions:
        raise BuildError(f"{family.name} is for TensorRT-LLM's PyTorch backend: use --backend pytorch")


def _check_precision(family: Family, precision: str, gpus: Sequence[Gpu]) -> None:
    possible = [one for one in family.precisions if too_old_for(one, gpus) is None]
    if precision not in family.precisions:
        best = nearest(precision, possible)
        raise BuildError(
            f"{family.name} has no {precision} engine; {best} is the nearest: --precision {best}"
        )
    if precision not in possible:
        gpu, best = too_old_for(precision, gpus), nearest(precision, possible)
        assert gpu is not None
        raise BuildError(
            f"{precision} needs a GPU of compute capability {'.'.join(map(str, CAPABILITY[precision]))} or "
            f"more, {gpu.name} has {gpu.compute_capability}; {best} is the nearest: --precision {best}"
        )


def _default_precision(family: Family, checkpoint: Checkpoint, gpus: Sequence[Gpu]) -> str:
    """Return the checkpoint's own 16-bit type: it loses nothing and needs no calibration."""
    possible = "bf16" in family.precisions and too_old_for("bf16", gpus) is None
    return "bf16" if possible and checkpoint.dtype == "bfloat16" else "fp16"


def _wants_bfloat16(precision: str, checkpoint: Checkpoint, gpus: Sequence[Gpu]) -> bool:
    """Return whether dtype is bfloat16; if not, float16, as in NVIDIA's examples of SmoothQuant."""
    if precision in ("fp16", "bf16", "smoothquant"):
        return precision == "bf16"
    return checkpoint.dtype == "bfloat16" and too_old_for("bf16", gpus) is None


def _as_stored(options: BuildOptions, checkpoint: Checkpoint) -> str:
    """Return the precision of the weights as stored, which the PyTorch backend serves. Raise BuildError."""
    stored = stored_precision(checkpoint)
    if options.precision not in (None, stored):
        raise BuildError(
            f"--precision {options.precision}: {checkpoint.source.name} is stored in {stored}, and the "
            "PyTorch backend serves it so; leave the option out, or give one that NVIDIA's ModelOpt quantized"
        )
    return stored
