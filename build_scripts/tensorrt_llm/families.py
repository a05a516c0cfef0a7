# SPDX-License-Identifier: Apache-2.0
"""The table of model families that TensorRT-LLM 1.2 serves; a build for GPUs is planned by it.

precisions are the engine backend's: those that the family's convert_checkpoint.py takes or its support list
names. The scripts are the same for all families:

    fp16, bf16       convert_checkpoint.py --dtype ...
    int8, int4       convert_checkpoint.py --use_weight_only --weight_only_precision ...
    fp8, int4_awq,   quantize.py --qformat ..., which calibrates on the texts of a data set
    smoothquant

Mistral is converted by Llama's script. OPT's script knows no other precisions, and quantize.py does not know
OPT. GPT-2 and Falcon lack what their support lists lack. The flags of Qwen's, GPT's and Falcon's scripts were
read from the public repository like the others', at commits near 1.2.1. Qwen3 is left to the PyTorch backend:
NVIDIA documents it there alone, although the engine backend has code for its dense models.
None of this has been run with TensorRT-LLM itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

CONVERTED = ("fp16", "bf16", "int8", "int4")
QFORMATS = {"fp8": "fp8", "int4_awq": "int4_awq", "smoothquant": "int8_sq"}  # quantize.py's names
PRECISIONS = (*CONVERTED, *QFORMATS)
# Alternatives to a precision, best first.
NEAREST = {
    "fp16": ("bf16",),
    "bf16": ("fp16",),
    "int8": ("fp16", "bf16"),
    "int4": ("int8", "fp16"),
    "int4_awq": ("int4", "int8", "fp16"),
    "fp8": ("int8", "bf16", "fp16"),
    "smoothquant": ("int8", "fp16"),
}


@dataclasses.dataclass(frozen=True)
class Family:
    """One row: a name for messages, the folder of its convert_checkpoint.py, and what each backend serves."""

    name: str
    example: str  # below the examples folder of NVIDIA's image; empty where there is no engine backend
    precisions: tuple[str, ...]  # of the engine backend; empty where there is none
    pytorch: bool  # whether the PyTorch backend serves it


LLAMA = "models/core/llama"
FAMILIES = {
    "OPTForCausalLM": Family("OPT", "models/contrib/opt", CONVERTED, pytorch=False),
    "LlamaForCausalLM": Family("Llama", LLAMA, PRECISIONS, pytorch=True),
    "MistralForCausalLM": Family("Mistral", LLAMA, PRECISIONS, pytorch=True),
    "Qwen2ForCausalLM": Family("Qwen2", "models/core/qwen", PRECISIONS, pytorch=True),
    "Qwen3ForCausalLM": Family("Qwen3", "", (), pytorch=True),
    "GPT2LMHeadModel": Family(
        "GPT-2", "models/core/gpt", ("fp16", "int8", "int4", "fp8", "smoothquant"), pytorch=False
    ),
    "FalconForCausalLM": Family(
        "Falcon", "models/contrib/falcon", (*CONVERTED, "fp8", "int4_awq"), pytorch=False
    ),
}
SUPPORTED = {architecture: family.name for architecture, family in FAMILIES.items()}


def nearest(precision: str, possible: Collection[str]) -> str:
    """Return the possible precision that is nearest to `precision`; every family has fp16."""
    return next((other for other in NEAREST[precision] if other in possible), "fp16")
