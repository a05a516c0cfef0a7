# SPDX-License-Identifier: Apache-2.0
"""Second look at a checkpoint: is it one that can be built and served, and how long may its texts be?

Reads JSON alone, so that a refusal takes milliseconds.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from build_scripts.build_error import BuildError
from build_scripts.fetch import Source
from build_scripts.own_code import refuse_own_code

# Architecture classes that the tests take from a checkpoint to tokens served by OpenVINO.
SUPPORTED = {
    "OPTForCausalLM": "OPT",
    "LlamaForCausalLM": "Llama",
    "Qwen2ForCausalLM": "Qwen2",
    "Qwen3ForCausalLM": "Qwen3",
    "MistralForCausalLM": "Mistral",
    "GemmaForCausalLM": "Gemma",
    "Gemma2ForCausalLM": "Gemma 2",  # less its soft cap on attention scores: paged attention has none
    "Gemma3ForCausalLM": "Gemma 3 (text)",
}
MODELOPT = "hf_quant_config.json"  # what NVIDIA's quantizer puts beside the weights
SAFE_POSITIONS = 2048  # for a config.json that does not say; no supported family has fewer by default


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found fit to build."""

    source: Source
    architecture: str
    config: dict[str, Any]
    positions: int  # tokens the model has positions for
    trust_remote_code: bool  # whether its own code may run

    @property
    def quantized(self) -> bool:
        """Whether its weights have been through a quantizer."""
        return "quantization_config" in self.config or (self.folder / MODELOPT).is_file()

    @property
    def dtype(self) -> str:
        """Of the weights that are not quantized, as torch calls it; empty where config.json does not say."""
        return str(self.config.get("torch_dtype") or self.config.get("dtype") or "")

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.source.folder


def read_checkpoint(source: Source, *, trust_remote_code: bool = False) -> Checkpoint:
    """A checkpoint that can be built for openvino. Raises BuildError, naming what is supported.

    One that needs code of its own is refused unless `trust_remote_code`.
    """
    checkpoint = look(source, SUPPORTED, trust_remote_code=trust_remote_code)
    if checkpoint.quantized:
        raise BuildError(f"{source.name} is quantized already: give the original checkpoint and a PRECISION")
    require_weights(checkpoint)
    return checkpoint


def look(source: Source, supported: Mapping[str, str], *, trust_remote_code: bool) -> Checkpoint:
    """What the JSON files say, before there are any weights. Raises BuildError as read_checkpoint does."""
    config = _read_config(source.folder)
    architecture = _architecture(config, supported)
    if not trust_remote_code:
        refuse_own_code(source)
    positions = config.get("max_position_embeddings") or config.get("n_positions") or SAFE_POSITIONS
    return Checkpoint(source, architecture, config, int(positions), trust_remote_code)


def require_weights(checkpoint: Checkpoint) -> None:
    """Raise BuildError where the weights are missing."""
    folder = checkpoint.folder
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("pytorch_model*.bin")):
        raise BuildError(
            f"{checkpoint.source.name} has no weights: neither *.safetensors nor pytorch_model*.bin"
        )


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BuildError(f"{folder} is not a Hugging Face checkpoint: it has no config.json") from None
    except (OSError, ValueError) as error:
        raise BuildError(f"{path} cannot be read ({error}): fetch the checkpoint again") from error
    if not isinstance(config, dict):
        raise BuildError(f"{path} is no JSON object: fetch the checkpoint again")
    return config


def _architecture(config: dict[str, Any], supported: Mapping[str, str]) -> str:
    named = config.get("architectures") or ["none"]
    if named[0] not in supported:
        names = ", ".join(supported.values())
        raise BuildError(f"architecture {named[0]} is not supported; these are: {names}")
    return str(named[0])
