# SPDX-License-Identifier: Apache-2.0
"""Second look at a checkpoint: is it one that can be built and served, and how long may its texts be?

Reads JSON alone, so that a refusal takes milliseconds.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from build_scripts.build_error import BuildError
from build_scripts.fetch import Source
from build_scripts.own_code import refuse_own_code

# Architecture classes that the tests take from a checkpoint to served tokens.
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
    """A checkpoint that was found fit to build."""

    source: Source
    architecture: str
    config: dict[str, Any]
    positions: int  # tokens the model has positions for
    trust_remote_code: bool  # whether its own code may run

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.source.folder


def read_checkpoint(source: Source, *, trust_remote_code: bool = False) -> Checkpoint:
    """Check config.json and the presence of weights. Raises BuildError, naming what is supported.

    A checkpoint that needs code of its own is refused unless `trust_remote_code`.
    """
    config = _read_config(source.folder)
    architecture = _architecture(config)
    if "quantization_config" in config:
        raise BuildError(f"{source.name} is quantized already: give the original checkpoint and a PRECISION")
    if not any(source.folder.glob("*.safetensors")) and not any(source.folder.glob("pytorch_model*.bin")):
        raise BuildError(f"{source.name} has no weights: neither *.safetensors nor pytorch_model*.bin")
    if not trust_remote_code:
        refuse_own_code(source)
    positions = int(config.get("max_position_embeddings", SAFE_POSITIONS))
    return Checkpoint(source, architecture, config, positions, trust_remote_code)


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


def _architecture(config: dict[str, Any]) -> str:
    named = config.get("architectures") or ["none"]
    if named[0] not in SUPPORTED:
        supported = ", ".join(SUPPORTED.values())
        raise BuildError(f"architecture {named[0]} is not supported; these are: {supported}")
    return str(named[0])
