# SPDX-License-Identifier: Apache-2.0
"""The linear layers of an exported model, by the names that its checkpoint had for them.

OpenVINO GenAI puts an adapter's matrices at each MatMul whose name contains the adapter's name for a module,
and only warns, on standard error, of those that it found no place for (seen with 2026.4.1).
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from llm_ensemble.lora.adapters import ModuleSizes

MODEL = "openvino_model.xml"
LINEAR = re.compile(r"__module\.(?P<module>[^/]+)/(ov_ext::linear|aten::linear)/MatMul")


def linear_layers(folder: Path) -> ModuleSizes:
    """Return inputs and outputs of each linear layer of the model in a folder."""
    sizes: dict[str, tuple[int, int] | None] = {}
    # The folder is the operator's own, and what serves the model reads the same file.
    for _, layer in ElementTree.iterparse(folder / MODEL):
        if layer.tag != "layer":
            continue
        if layer.get("type") == "MatMul" and (match := LINEAR.fullmatch(layer.get("name", ""))):
            sizes[match["module"]] = _size(layer)
        layer.clear()
    return sizes


def _size(layer: ElementTree.Element) -> tuple[int, int]:
    """Return inputs and outputs of a MatMul, whose second port is the weight."""
    data, weight = layer.find("data"), layer.findall("input/port")[1]
    rows, columns = (int(dim.text or 0) for dim in weight.findall("dim")[-2:])
    is_transposed = data is not None and data.get("transpose_b") == "true"
    return (columns, rows) if is_transposed else (rows, columns)
