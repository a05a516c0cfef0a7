# SPDX-License-Identifier: Apache-2.0
"""A checkpoint as it is stored: its precision, and the files that TensorRT-LLM's PyTorch backend reads."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from build_scripts.build_error import BuildError
from build_scripts.checkpoint import MODELOPT, Checkpoint
from build_scripts.own_code import remove_own_code

DTYPES = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}
ALGORITHMS = {"W4A16_AWQ": "int4_awq"}  # the others are called the same in lower case: FP8, NVFP4, ...
SMALL = ("config.json", "generation_config.json", MODELOPT, "model.safetensors.index.json")


def stored_precision(checkpoint: Checkpoint) -> str:
    """fp16, bf16 or fp32; of a quantized checkpoint the algorithm, in this project's words.

    Raises BuildError for what the PyTorch backend is not known to read.
    """
    if checkpoint.quantized:
        algorithm = _algorithm(checkpoint)
        if algorithm is None:
            raise BuildError(
                f"{checkpoint.source.name} is quantized by {_method(checkpoint) or 'nobody known'}: give the "
                f"original, or one quantized by NVIDIA's ModelOpt (it has {MODELOPT})"
            )
        return ALGORITHMS.get(algorithm, algorithm.lower())
    if checkpoint.dtype not in DTYPES:
        raise BuildError(
            f"{checkpoint.source.name}: config.json does not say in which torch_dtype the weights are: add it"
        )
    return DTYPES[checkpoint.dtype]


def take_weights(checkpoint: Checkpoint, into: Path) -> None:
    """Put weights and configuration into `into`. Weights are linked where both are on one disk, else copied.

    Raises BuildError when the weights are not safetensors: nothing else is read without running code.
    """
    weights = sorted(checkpoint.folder.glob("model*.safetensors"))
    if not weights:
        raise BuildError(
            f"{checkpoint.source.name} has no model*.safetensors, which the PyTorch backend needs: save it "
            "again with transformers' save_pretrained"
        )
    into.mkdir()
    for path in weights:
        _link(path.resolve(), into / path.name)  # the hub's cache holds links
    for name in SMALL:
        if (checkpoint.folder / name).is_file():
            shutil.copyfile(checkpoint.folder / name, into / name)
    remove_own_code(into)


def write_generation_config(checkpoint: Checkpoint, into: Path) -> None:
    """The checkpoint's generation_config.json, or one of the ids in its config.json, as in transformers."""
    name = "generation_config.json"
    if (checkpoint.folder / name).is_file():
        shutil.copyfile(checkpoint.folder / name, into / name)
        return
    ids = ("bos_token_id", "eos_token_id", "pad_token_id")
    known = {key: checkpoint.config[key] for key in ids if checkpoint.config.get(key) is not None}
    (into / name).write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)


def _algorithm(checkpoint: Checkpoint) -> str | None:
    path = checkpoint.folder / MODELOPT
    told: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    algorithm = told.get("quantization", {}).get("quant_algo")
    if algorithm is None and _method(checkpoint) == "modelopt":
        algorithm = checkpoint.config["quantization_config"].get("quant_algo")
    if algorithm is None and _method(checkpoint) == "fp8":  # DeepSeek's blocks
        algorithm = "FP8"
    return None if algorithm is None else str(algorithm)


def _method(checkpoint: Checkpoint) -> str | None:
    method = checkpoint.config.get("quantization_config", {}).get("quant_method")
    return None if method is None else str(method)
