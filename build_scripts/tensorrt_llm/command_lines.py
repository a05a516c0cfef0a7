# SPDX-License-Identifier: Apache-2.0
"""The command lines of an engine build, for the scripts and the trtllm-build of NVIDIA's image.

The flags are those of TensorRT-LLM 1.2.1; the tests compare every line with a list of them.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from build_scripts.errors import BuildError
from build_scripts.tensorrt_llm.families import CONVERTED, QFORMATS
from build_scripts.tensorrt_llm.plan import Plan
from llm_ensemble.engines.tensorrt_llm.installed import IMAGE

TRTLLM_BUILD = "trtllm-build"


def convert_command(plan: Plan, model: Path, into: Path) -> list[str]:
    """Return the command from a Hugging Face checkpoint to TensorRT-LLM's own format, one file per GPU."""
    if plan.precision in CONVERTED:
        how = [
            *("--use_weight_only", "--weight_only_precision", plan.precision)
        ] if plan.precision in ("int8", "int4") else []  # fmt: skip
    else:
        how = ["--qformat", QFORMATS[plan.precision]]
        # NVIDIA's guides keep the cache of an FP8 model in FP8 too: half the memory of a token.
        how += ["--kv_cache_dtype", "fp8"] if plan.precision == "fp8" else []
        how += ["--calib_dataset", plan.calib_dataset] if plan.calib_dataset else []
    return [
        sys.executable,
        str(_convert_script(plan)),
        *("--model_dir", str(model)),
        *("--output_dir", str(into)),
        *("--dtype", plan.dtype),
        *("--tp_size", str(plan.tensor_parallel)),
        *how,
    ]


def engine_command(plan: Plan, checkpoint: Path, into: Path) -> list[str]:
    """Return the command from TensorRT-LLM's checkpoint to engines, one per GPU."""
    limits = plan.limits
    return [
        trtllm_build() or TRTLLM_BUILD,
        *("--checkpoint_dir", str(checkpoint)),
        *("--output_dir", str(into)),
        *("--max_batch_size", str(limits.max_batch_size)),
        *("--max_input_len", str(limits.max_input_len)),
        *("--max_seq_len", str(limits.max_seq_len)),
        *("--max_num_tokens", str(limits.max_num_tokens)),
        *("--max_beam_width", str(limits.max_beam_width)),
        *("--gemm_plugin", "auto"),
        # In-flight batching needs the paged cache; prefix cache and chunked prefill need paged context FMHA.
        *("--kv_cache_type", "paged"),
        *("--use_paged_context_fmha", "enable"),
        *("--workers", str(plan.tensor_parallel)),
        # By default it is written to the working directory.
        *("--output_timing_cache", str(checkpoint / "model.cache")),
        *(("--gather_generation_logits",) if plan.log_probs else ()),
    ]


def check_tools(plan: Plan, model: Path) -> None:
    """Raise BuildError if a script or command is missing, or would misread the path of the model."""
    script = _convert_script(plan)
    if not script.is_file():
        raise BuildError(
            f"{script} is not here: it is in NVIDIA's image, build in {IMAGE} (or set --examples)"
        )
    if trtllm_build() is None:
        raise BuildError(f"{TRTLLM_BUILD} is not here: it is in NVIDIA's image, build in {IMAGE}")
    # quantize.py guesses two kinds of models from the letters of the path, "attempt" included.
    for kind in ("mpt", "vila") if script.name == "quantize.py" else ():
        if kind in str(model):
            raise BuildError(
                f"{model}: TensorRT-LLM's quantize.py takes any path with {kind!r} in it for another kind of "
                "model: move the checkpoint to a folder without it"
            )


def trtllm_build() -> str | None:
    """Return the path of trtllm-build: beside this Python (an environment not activated), or on PATH."""
    beside = shutil.which(TRTLLM_BUILD, path=str(Path(sys.executable).parent))
    return beside or shutil.which(TRTLLM_BUILD)


def _convert_script(plan: Plan) -> Path:
    if plan.precision in CONVERTED:
        return plan.examples / plan.family.example / "convert_checkpoint.py"
    return plan.examples / "quantization/quantize.py"
