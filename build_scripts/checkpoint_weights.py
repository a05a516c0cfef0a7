# SPDX-License-Identifier: Apache-2.0
"""The stored weights of a checkpoint: their precision, and the copy for TensorRT-LLM's PyTorch backend.

The copy of a build for vLLM, which reads more kinds, is in vllm/weights.py.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from build_scripts.checkpoint import Checkpoint
from build_scripts.errors import BuildError
from build_scripts.remote_code import remove_remote_code
from llm_ensemble.manifest import MODELOPT

DTYPES = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}
ALGORITHMS = {"W4A16_AWQ": "int4_awq"}  # the others are called the same in lower case: FP8, NVFP4, ...
SMALL = ("config.json", "generation_config.json", MODELOPT, "model.safetensors.index.json")


def stored_precision(checkpoint: Checkpoint) -> str:
    """Return fp16, bf16 or fp32; for a quantized checkpoint its algorithm, as the manifest names it.

    Raise BuildError for weights that the PyTorch backend is not known to read.
    """
    if checkpoint.quantized:
        algorithm = _algorithm(checkpoint)
        if algorithm is None:
            raise BuildError(
                f"{checkpoint.source.name} is quantized by {_method(checkpoint) or 'an unknown method'}: "
                f"give the original, or one quantized by NVIDIA's ModelOpt (it has {MODELOPT})"
            )
        return ALGORITHMS.get(algorithm, algorithm.lower())
    if checkpoint.dtype not in DTYPES:
        raise BuildError(
            f"{checkpoint.source.name}: config.json does not say in which torch_dtype the weights are: add it"
        )
    return DTYPES[checkpoint.dtype]


def copy_weights(checkpoint: Checkpoint, into: Path) -> None:
    """Put weights and configuration into the new folder `into`. Weights are hard links on the same disk.

    Raise BuildError if the weights are not safetensors: to read other formats would run code.
    """
    weights = sorted(checkpoint.folder.glob("model*.safetensors"))
    if not weights:
        raise BuildError(
            f"{checkpoint.source.name} has no model*.safetensors, which the PyTorch backend needs: save it "
            "again with transformers' save_pretrained"
        )
    into.mkdir()
    for path in weights:
        link_or_copy(path.resolve(), into / path.name)  # the hub's cache holds links
    for name in SMALL:
        if (checkpoint.folder / name).is_file():
            shutil.copyfile(checkpoint.folder / name, into / name)
    remove_remote_code(into)


def write_generation_config(checkpoint: Checkpoint, into: Path) -> None:
    """Write the checkpoint's generation_config.json, or one with the ids of config.json."""
    name = "generation_config.json"
    if (checkpoint.folder / name).is_file():
        shutil.copyfile(checkpoint.folder / name, into / name)
        return
    ids = ("bos_token_id", "eos_token_id", "pad_token_id")
    known = {key: checkpoint.config[key] for key in ids if checkpoint.config.get(key) is not None}
    (into / name).write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` a hard link to the file `source`, or a copy where that cannot be."""
    try:
        os.link(source, target)
    except OSError:  # another disk, a file system without links, or another user's file
        shutil.copyfile(source, target)


def _algorithm(checkpoint: Checkpoint) -> str | None:
    path = checkpoint.folder / MODELOPT
    content: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    algorithm = content.get("quantization", {}).get("quant_algo")
    if algorithm is None and _method(checkpoint) == "modelopt":
        algorithm = checkpoint.config["quantization_config"].get("quant_algo")
    if algorithm is None and _method(checkpoint) == "fp8":  # DeepSeek's blocks
        algorithm = "FP8"
    return None if algorithm is None else str(algorithm)


def _method(checkpoint: Checkpoint) -> str | None:
    method = checkpoint.config.get("quantization_config", {}).get("quant_method")
    return None if method is None else str(method)
