# SPDX-License-Identifier: Apache-2.0
"""The command lines of an engine build. They run in NVIDIA's image, whose scripts and trtllm-build they name.

Flags as TensorRT-LLM 1.2.1 has them; the tests hold every line against the list of those.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from build_scripts.build_error import BuildError
from build_scripts.families import CONVERTED, QFORMATS
from build_scripts.plan import Plan
from build_scripts.trtllm import IMAGE

EXAMPLES = Path("/app/examples")
TRTLLM_BUILD = "trtllm-build"


def convert_command(plan: Plan, model: Path, into: Path, examples: Path) -> list[str]:
    """A Hugging Face checkpoint to TensorRT-LLM's own kind, one file a GPU."""
    if plan.precision in CONVERTED:
        script = examples / plan.family.example / "convert_checkpoint.py"
        how = [
            *("--use_weight_only", "--weight_only_precision", plan.precision)
        ] if plan.precision in ("int8", "int4") else []  # fmt: skip
    else:
        script = examples / "quantization/quantize.py"
        how = ["--qformat", QFORMATS[plan.precision]]
        # NVIDIA's guides keep the cache of an FP8 model in FP8 too: half the memory of a token.
        how += ["--kv_cache_dtype", "fp8"] if plan.precision == "fp8" else []
        how += ["--calib_dataset", plan.calib_dataset] if plan.calib_dataset else []
    return [
        sys.executable,
        str(script),
        *("--model_dir", str(model)),
        *("--output_dir", str(into)),
        *("--dtype", plan.dtype),
        *("--tp_size", str(plan.tensor_parallel)),
        *how,
    ]


def engine_command(plan: Plan, checkpoint: Path, into: Path) -> list[str]:
    """TensorRT-LLM's checkpoint to engines, one a GPU."""
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
        # Serving's in-flight batching needs the paged cache; prefix cache and chunked prefill the other.
        *("--kv_cache_type", "paged"),
        *("--use_paged_context_fmha", "enable"),
        *("--workers", str(plan.tensor_parallel)),
        # Else it is written to wherever one happens to be.
        *("--output_timing_cache", str(checkpoint / "model.cache")),
        *(("--gather_generation_logits",) if plan.log_probs else ()),
    ]


def check_tools(convert: list[str], model: Path) -> None:
    """Raise BuildError when what the commands name is missing, or would misunderstand the model's path."""
    script = Path(convert[1])
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
                "model: give the checkpoint from a folder without"
            )


def trtllm_build() -> str | None:
    """Beside this Python, as in an environment that is not activated, else on the PATH."""
    beside = shutil.which(TRTLLM_BUILD, path=str(Path(sys.executable).parent))
    return beside or shutil.which(TRTLLM_BUILD)
