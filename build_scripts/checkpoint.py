# SPDX-License-Identifier: Apache-2.0
"""A checkpoint's architecture, configuration and positions, checked before anything is built.

Only JSON is read, so that a refusal takes milliseconds.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from build_scripts.errors import BuildError
from build_scripts.fetch import Source
from build_scripts.remote_code import refuse_remote_code
from llm_ensemble.manifest import MODELOPT

# Architectures for openvino: each is built and served in the tests.
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
SAFE_POSITIONS = 2048  # for a config.json that does not say; no supported family has fewer by default


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that can be built."""

    source: Source
    architecture: str
    config: dict[str, Any]
    positions: int  # tokens the model has positions for
    trust_remote_code: bool  # whether its own code may run

    @property
    def quantized(self) -> bool:
        """Return whether its weights are quantized."""
        return "quantization_config" in self.config or (self.folder / MODELOPT).is_file()

    @property
    def dtype(self) -> str:
        """Return torch's name of the type of unquantized weights; empty if config.json has none."""
        return str(self.config.get("torch_dtype") or self.config.get("dtype") or "")

    @property
    def folder(self) -> Path:
        """Return the folder of its files."""
        return self.source.folder


def read_checkpoint(source: Source, *, trust_remote_code: bool = False) -> Checkpoint:
    """Return a checkpoint that can be built for openvino. Raise BuildError, naming what is supported.

    A checkpoint that needs remote code is refused unless `trust_remote_code`.
    """
    checkpoint = inspect_checkpoint(source, SUPPORTED, trust_remote_code=trust_remote_code)
    if checkpoint.quantized:
        raise BuildError(f"{source.name} is quantized already: give the original checkpoint and a PRECISION")
    require_weights(checkpoint)
    return checkpoint


def inspect_checkpoint(
    source: Source, supported: Mapping[str, str], *, trust_remote_code: bool
) -> Checkpoint:
    """Return the checkpoint, from its JSON files alone. Raise BuildError if it cannot be built."""
    config = _read_config(source.folder)
    architecture = _architecture(config, supported)
    if not trust_remote_code:
        refuse_remote_code(source)
    positions = config.get("max_position_embeddings") or config.get("n_positions") or SAFE_POSITIONS
    return Checkpoint(source, architecture, config, int(positions), trust_remote_code)


def require_weights(checkpoint: Checkpoint) -> None:
    """Raise BuildError if there are no weights."""
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
        raise BuildError(f"{path} is not a JSON object: fetch the checkpoint again")
    return config


def _architecture(config: dict[str, Any], supported: Mapping[str, str]) -> str:
    named = config.get("architectures") or ["none"]
    if named[0] not in supported:
        names = ", ".join(dict.fromkeys(supported.values()))
        raise BuildError(f"architecture {named[0]} is not supported; these are: {names}")
    return str(named[0])
