# SPDX-License-Identifier: Apache-2.0
"""An order for GPUs, decided: which backend, precision and limits; all that cannot be is refused here.

Knows the checkpoint's JSON, the table of families and the GPUs; starts nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from build_scripts.build_error import BuildError
from build_scripts.checkpoint import Checkpoint
from build_scripts.families import FAMILIES, QFORMATS, Family, nearest
from build_scripts.gpu import NO_GPU, Gpu
from build_scripts.order import Order
from build_scripts.stored import stored_precision
from build_scripts.trtllm import insist_on_engine_backend
from llm_ensemble.manifest import Limits

# The lowest compute capability that has the arithmetic: since Ampere, Ada, Blackwell.
CAPABILITY = {"bf16": (8, 0), "fp8": (8, 9), "nvfp4": (10, 0)}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What will be built. dtype: of whatever stays unquantized, as NVIDIA's scripts call it."""

    family: Family
    backend: str
    precision: str
    dtype: str
    limits: Limits
    tensor_parallel: int
    log_probs: bool
    calib_dataset: str | None


def decide(order: Order, checkpoint: Checkpoint, gpus: Sequence[Gpu]) -> Plan:
    """The plan for this order on these (visible) GPUs. Raises BuildError, naming the nearest that works."""
    family = FAMILIES[checkpoint.architecture]
    backend = order.backend or ("tensorrt" if family.precisions else "pytorch")
    _check_backend(family, backend)
    tensor_parallel = _tensor_parallel(order, checkpoint)
    limits = order.limits(checkpoint.positions)
    if backend == "pytorch":
        order.refuse(("log_probs", "calib_dataset", "examples"), "is for --backend tensorrt")
        precision = _as_stored(order, checkpoint)
    else:
        insist_on_engine_backend(family.pytorch)
        if checkpoint.quantized:
            other = ", or use --backend pytorch" if family.pytorch else ""
            raise BuildError(
                f"{checkpoint.source.name} is quantized already: give the original checkpoint{other}"
            )
        if not gpus:
            raise BuildError(NO_GPU)
        precision = order.precision or _usual(family, checkpoint, gpus)
        _check_precision(family, precision, gpus)
    if order.calib_dataset and precision not in QFORMATS:
        raise BuildError(
            f"--calib-dataset is for {', '.join(QFORMATS)}: {precision} is made without looking at texts"
        )
    dtype = "bfloat16" if _wants_bfloat16(precision, checkpoint, gpus) else "float16"
    return Plan(
        family, backend, precision, dtype, limits, tensor_parallel, order.log_probs, order.calib_dataset
    )


def too_old_for(precision: str, gpus: Sequence[Gpu]) -> Gpu | None:
    """The first of the GPUs that cannot compute in this precision."""
    least = CAPABILITY.get(precision, (0, 0))
    return next((gpu for gpu in gpus if gpu.capability < least), None)


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


def _usual(family: Family, checkpoint: Checkpoint, gpus: Sequence[Gpu]) -> str:
    """16 bits of the checkpoint's own kind: nothing is lost, and it needs no calibration."""
    possible = "bf16" in family.precisions and too_old_for("bf16", gpus) is None
    return "bf16" if possible and checkpoint.dtype == "bfloat16" else "fp16"


def _wants_bfloat16(precision: str, checkpoint: Checkpoint, gpus: Sequence[Gpu]) -> bool:
    """Else float16, which NVIDIA's own examples of SmoothQuant take whatever the checkpoint has."""
    if precision in ("fp16", "bf16", "smoothquant"):
        return precision == "bf16"
    return checkpoint.dtype == "bfloat16" and too_old_for("bf16", gpus) is None


def _as_stored(order: Order, checkpoint: Checkpoint) -> str:
    """The PyTorch backend takes a checkpoint as it is."""
    stored = stored_precision(checkpoint)
    if order.precision not in (None, stored):
        raise BuildError(
            f"--precision {order.precision}: {checkpoint.source.name} is stored in {stored}, and the PyTorch "
            "backend serves it so; leave the option out, or give one that NVIDIA's ModelOpt quantized"
        )
    return stored


def _tensor_parallel(order: Order, checkpoint: Checkpoint) -> int:
    gpus = 1 if order.tensor_parallel is None else order.tensor_parallel
    heads = checkpoint.config.get("num_attention_heads") or checkpoint.config.get("n_head") or gpus
    if gpus < 1 or heads % gpus:
        fitting = [number for number in (1, 2, 4, 8) if heads % number == 0]
        raise BuildError(
            f"--tensor-parallel {gpus}: the model's {heads} attention heads must divide evenly; give "
            + " or ".join(map(str, fitting))
        )
    return gpus
