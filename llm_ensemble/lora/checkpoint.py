# SPDX-License-Identifier: Apache-2.0
"""The linear layers of a checkpoint, for engines that serve one."""

from __future__ import annotations

from pathlib import Path

from llm_ensemble.lora.adapter import DTYPES, tensor_shapes
from llm_ensemble.lora.adapters import ModuleSizes

# Of a quantized layer, by the names that the formats have for its packed weight.
PACKED = (".qweight", ".weight_packed", ".weight")


def checkpoint_layers(folder: Path) -> ModuleSizes:
    """Return inputs and outputs of each linear layer; None for a quantized one, whose weight is packed."""
    sizes: dict[str, tuple[int, int] | None] = {}
    for path in sorted(folder.glob("*.safetensors")):
        for name, (dtype, shape) in tensor_shapes(path).items():
            module, _, kind = name.rpartition(".")
            if kind == "weight" and len(shape) == 2 and dtype in DTYPES:
                outputs, inputs = shape
                sizes[module] = inputs, outputs
            elif name.endswith(PACKED) and len(shape) == 2:
                sizes[module] = None
    return sizes
