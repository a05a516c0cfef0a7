# SPDX-License-Identifier: Apache-2.0
"""The precision that vLLM serves a checkpoint in: its own, or one that vLLM makes of it when it loads."""

from __future__ import annotations

import json
from typing import Any

from build_scripts.checkpoint import Checkpoint
from build_scripts.checkpoint_weights import DTYPES
from build_scripts.errors import BuildError
from build_scripts.options import BuildOptions
from llm_ensemble.manifest import MODELOPT

# What vLLM can make of full weights: another type, or FP8 with a scale a matrix ("online").
PRECISIONS = ("fp16", "bf16", "fp32", "fp8")
# quant_method of config.json, as vLLM 0.23.0 knows it. Left out: gguf, whose files are no checkpoint, and
# fbgemm_fp8 and fp_quant, which vLLM has given up and refuses unless it is told otherwise.
METHODS = (
    *("auto-round", "auto_gptq", "awq", "awq_marlin", "bitsandbytes", "compressed-tensors", "experts_int8"),
    *("fp8", "gpt_oss_mxfp4", "gptq", "gptq_marlin", "inc", "modelopt", "modelopt_fp4", "modelopt_mixed"),
    *("modelopt_mxfp8", "moe_wna16", "mxfp4", "quark", "torchao"),
)
GIVEN_UP = ("fbgemm_fp8", "fp_quant")
# Algorithms of NVIDIA's ModelOpt that vLLM reads; those of the file that older ModelOpt wrote are fewer.
ALGORITHMS_OF_FILE = ("FP8", "FP8_PER_CHANNEL_PER_TOKEN", "FP8_PB_WO", "NVFP4")
ALGORITHMS = (*ALGORITHMS_OF_FILE, "W4A16_NVFP4", "MXFP8", "MIXED_PRECISION")
# Written by old AutoGPTQ and AutoAWQ instead of quantization_config: vLLM does not see them by itself.
OLD_SETTINGS = ("quantize_config.json", "quant_config.json")


def resolve_precision(options: BuildOptions, checkpoint: Checkpoint) -> str:
    """Return the precision, as the manifest names it: a type, or how the checkpoint is quantized.

    Raise BuildError for a quantization that vLLM has no method for, and for a precision that it cannot make.
    """
    method = quantization(checkpoint)
    if method is not None:
        if options.precision not in (None, method):
            raise BuildError(
                f"--precision {options.precision}: {checkpoint.source.name} is quantized ({method}), vLLM "
                "takes it as it is: leave the option out, or give the original checkpoint"
            )
        return method
    if options.precision is not None:
        return options.precision
    if checkpoint.dtype not in DTYPES:
        raise BuildError(
            f"{checkpoint.source.name}: config.json does not say in which torch_dtype the weights are: give "
            "--precision fp16, bf16 or fp32"
        )
    return DTYPES[checkpoint.dtype]


def quantization(checkpoint: Checkpoint) -> str | None:
    """Return how the checkpoint is quantized: the method, or ModelOpt's algorithm in lower case ("nvfp4").

    None for full weights. Raise BuildError for a method that vLLM does not have.
    """
    name = checkpoint.source.name
    told: dict[str, Any] | None = checkpoint.config.get("quantization_config") or checkpoint.config.get(
        "compression_config"  # of older compressed-tensors
    )
    if told is None:
        if (checkpoint.folder / MODELOPT).is_file():
            content = json.loads((checkpoint.folder / MODELOPT).read_bytes())
            return _algorithm(name, content.get("quantization", {}), ALGORITHMS_OF_FILE)
        for file in OLD_SETTINGS:
            if (checkpoint.folder / file).is_file():
                raise BuildError(
                    f"{name} has {file} and no quantization_config in config.json, where vLLM looks for it: "
                    "quantize the original again with a newer library"
                )
        return None
    method = str(told.get("quant_method") or "").lower().replace("compressed_tensors", "compressed-tensors")
    if method == "modelopt":
        return _algorithm(name, told.get("quantization", told), ALGORITHMS)
    if method not in METHODS:
        why = "has given it up" if method in GIVEN_UP else "has no method for it"
        raise BuildError(
            f"{name} is quantized by {method or 'an unknown method'}, and vLLM 0.23 {why}; it serves: "
            + ", ".join(METHODS)
        )
    return method


def _algorithm(name: str, told: dict[str, Any], known: tuple[str, ...]) -> str:
    algorithm = str(told.get("quant_algo") or "an unknown algorithm").upper()
    if algorithm not in known:
        raise BuildError(
            f"{name} is quantized by ModelOpt's {algorithm}, which vLLM 0.23 does not read; it reads: "
            + ", ".join(known)
        )
    return algorithm.lower()
