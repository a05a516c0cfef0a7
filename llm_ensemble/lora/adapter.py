# SPDX-License-Identifier: Apache-2.0
"""One LoRA adapter as PEFT saves it: adapter_config.json and adapter_model.safetensors in a folder.

What changes the arithmetic in a way that no engine here is asked for (DoRA, biases, embeddings, modules saved
whole) is refused by name, and so is an option that this version does not know.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors
from safetensors.numpy import save

from llm_ensemble.errors import SettingError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<matrix>[AB])\.weight")
DTYPES = ("F32", "F16", "BF16")
# Options that say how an adapter was trained, or what its tensors say, too.
WITHOUT_EFFECT = {
    *("peft_type", "peft_version", "task_type", "base_model_name_or_path", "revision", "inference_mode"),
    *("auto_mapping", "lora_dropout", "target_modules", "exclude_modules", "layers_to_transform"),
    *(
        "layers_pattern",
        "qalora_group_size",
        "loftq_config",
        "eva_config",
        "corda_config",
        "lora_ga_config",
        "megatron_core",
    ),
    *("ensure_weight_tying", "fan_in_fan_out"),
}
SERVED = {"r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "init_lora_weights", "bias"}
# The other initial values change the checkpoint's own weights, which PEFT can undo when it saves.
PLAIN_INITIAL_VALUES = (True, False, None, "gaussian", "eva", "orthogonal")

Floats = npt.NDArray[np.float32]


class Shape(NamedTuple):
    """A module's matrices: A is rank x inputs, B is outputs x rank."""

    rank: int
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Adapter:
    """An adapter by its name, that of its folder. modules: shapes by the module's name in the checkpoint."""

    name: str
    folder: Path
    config: Mapping[str, Any]
    modules: Mapping[str, Shape]

    @property
    def rank(self) -> int:
        """The highest rank of its modules."""
        return max(shape.rank for shape in self.modules.values())

    @property
    def has_patterns(self) -> bool:
        """Whether its modules differ in alpha, or in rank by the config."""
        return bool(self.config.get("alpha_pattern") or self.config.get("rank_pattern"))

    def scaling(self, module: str) -> float:
        """Return what B A is multiplied by, as PEFT computes it."""
        patterns: Mapping[str, float] = self.config.get("alpha_pattern") or {}
        found = (key for key in patterns if re.match(rf"(.*\.)?({key})$", module))
        alpha = patterns.get(next(found, ""), self.config["lora_alpha"])
        rank = self.modules[module].rank
        return float(alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank))


def read_adapter(folder: Path) -> Adapter:
    """Read and check an adapter. Raise SettingError, one line that says what to do."""
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        _check_config(config)
        return Adapter(folder.name, folder, config, _modules(tensor_shapes(folder / WEIGHTS)))
    except OSError as error:
        problem = (
            f"{CONFIG} or {WEIGHTS} cannot be read ({error.strerror or 'it is missing'}); save it with "
            "PEFT's save_pretrained"
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = str(error) if type(error) is ValueError else f"is damaged ({error!r})"
    raise SettingError(f"adapter {folder}: {problem}")


def tensor_shapes(path: Path) -> dict[str, tuple[str, list[int]]]:
    """Return the type and shape of each tensor in a file; the values, which may be large, are not read.

    Raise OSError, or ValueError if it is damaged.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  it is no dictionary
            return {name: (one.get_dtype(), one.get_shape()) for name, one in slices.items()}
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path.name} is damaged ({error}); copy or save it again") from error


def _check_config(config: Mapping[str, Any]) -> None:
    """Raise ValueError for an option that is not served."""
    if config["peft_type"] != "LORA":
        raise ValueError(
            f"peft_type {config['peft_type']!r} is not served, LORA alone; merge it and build again"
        )
    if config.get("bias", "none") != "none":
        raise ValueError(f"bias {config['bias']!r} is not served; train it with bias 'none'")
    if config.get("init_lora_weights", True) not in PLAIN_INITIAL_VALUES:
        raise ValueError(
            f"init_lora_weights {config['init_lora_weights']!r} has changed the model's own weights; save it "
            "with path_initial_model_for_weight_conversion"
        )
    for name, value in config.items():
        if value and name not in WITHOUT_EFFECT | SERVED:
            raise ValueError(f"{name} is not served ({str(value)[:40]}); merge the adapter and build again")
    if not isinstance(config["lora_alpha"], (int, float)):
        raise ValueError("lora_alpha is no number")


def _modules(tensors: Mapping[str, tuple[str, list[int]]]) -> dict[str, Shape]:
    """Return the modules' shapes. Raise ValueError for a tensor that is none of LoRA's, or a missing one."""
    found: dict[str, dict[str, list[int]]] = {}
    for name, (dtype, shape) in tensors.items():
        match = TENSOR.fullmatch(name)
        if not match or len(shape) != 2 or dtype not in DTYPES:
            raise ValueError(
                f"tensor {name} ({dtype}, {shape}) is not served, only A and B of linear layers; merge the "
                "adapter and build again"
            )
        found.setdefault(match["module"], {})[match["matrix"]] = shape
    for module, matrices in found.items():
        if len(matrices) < 2 or matrices["A"][0] != matrices["B"][1]:
            raise ValueError(f"A and B of {module} do not belong together; save the adapter again")
    if not found:
        raise ValueError("there are no tensors in it; save the adapter again")
    return {
        module: Shape(one["A"][0], inputs=one["A"][1], outputs=one["B"][0]) for module, one in found.items()
    }


def read_scaled(adapter: Adapter) -> bytes:
    """Return the tensors in FP32 as a safetensors file, B multiplied by the scaling, so that none is left."""
    tensors = {}
    for name, tensor in _deserialize((adapter.folder / WEIGHTS).read_bytes()):
        match = TENSOR.fullmatch(name)
        assert match  # read_adapter has checked it
        values = _as_fp32(tensor["data"], tensor["dtype"])
        if match["matrix"] == "B":
            values = values * np.float32(adapter.scaling(match["module"]))
        tensors[name] = values.reshape(tensor["shape"])
    return bytes(save(tensors))


def _deserialize(data: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Return names and tensors, whose data are bytes: safetensors makes no array of BF16 for numpy."""
    return list(safetensors.deserialize(data))  # type: ignore[no-untyped-call]


def _as_fp32(data: bytes, dtype: str) -> Floats:
    """Return values as FP32. numpy has no BF16: that is the upper half of FP32."""
    if dtype == "BF16":
        return (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, {"F32": np.float32, "F16": np.float16}[dtype]).astype(np.float32)
