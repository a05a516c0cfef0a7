# SPDX-License-Identifier: Apache-2.0
"""The model folder of LLM: a built engine, or a Hugging Face checkpoint for the PyTorch backend."""

import json
import os
from pathlib import Path
from typing import NamedTuple

from tensorrt_llm._fake.configs import BuildConfig, TrtLlmArgs

PARALLEL = {
    "tp_size": "tensor_parallel_size",
    "pp_size": "pipeline_parallel_size",
    "cp_size": "context_parallel_size",
}
# Built as dictionaries; the sheet has no fields for the first, and nothing here reads the second.
NESTED = ("plugin_config", "lora_config")


class Limits(NamedTuple):
    """Limits of the executor, and the OpenVINO IR that computes."""

    openvino_ir: Path
    max_batch_size: int
    max_num_tokens: int
    max_seq_len: int
    max_beam_width: int
    world_size: int


def read_build_config(folder: Path) -> BuildConfig:
    """Trap: like the real one, this reads the file again for every request."""
    fields = json.loads((folder / "config.json").read_text())["build_config"]
    enums = {"kv_cache_type", "speculative_decoding_mode"}  # no class of the fake for these
    return BuildConfig(**{k: v for k, v in fields.items() if k not in NESTED and k not in enums})


def lora_of_engine(folder: Path) -> dict | None:
    """Return lora_config of a built engine, None if it was built without the plugin."""
    built = read_config(folder)["build_config"]
    return built["lora_config"] if built.get("plugin_config", {}).get("lora_plugin") else None


def open_engine(folder: Path, args: TrtLlmArgs) -> Limits:
    config = read_config(folder)
    if missing := {"version", "pretrained_config", "build_config"} - set(config):
        raise ValueError(f"{folder} is no engine directory: config.json lacks {sorted(missing)}")
    mapping = config["pretrained_config"].get("mapping", {})
    _check_parallel(mapping, args)
    for rank in range(mapping.get("world_size", 1)):
        if not (folder / f"rank{rank}.engine").is_file():
            raise RuntimeError(f"{folder}/rank{rank}.engine is missing")
    build = read_build_config(folder)
    longest = config["pretrained_config"].get("max_position_embeddings") or 2048
    return Limits(
        openvino_ir=_existing(json.loads((folder / "rank0.engine").read_text())["openvino_ir"]),
        max_batch_size=args.max_batch_size or build.max_batch_size,
        max_num_tokens=args.max_num_tokens,
        max_seq_len=args.max_seq_len or build.max_seq_len or longest,
        max_beam_width=args.max_beam_width,
        world_size=mapping.get("world_size", 1),
    )


def open_checkpoint(folder: Path, args) -> Limits:
    config = read_config(folder)
    if not config.get("architectures"):
        raise ValueError(
            f"{folder}/config.json names no architecture: the PyTorch backend takes HF checkpoints"
        )
    if "OPTForCausalLM" in config["architectures"]:
        raise RuntimeError("the PyTorch backend knows no OPTForCausalLM")
    if not [*folder.glob("*.safetensors"), *folder.glob("*.bin")]:
        raise RuntimeError(f"{folder} has no weights")
    if "FAKE_TRTLLM_IR" not in os.environ:
        raise RuntimeError("the fake's PyTorch backend computes with the IR that FAKE_TRTLLM_IR names: unset")
    return Limits(
        openvino_ir=_existing(os.environ["FAKE_TRTLLM_IR"]),
        max_batch_size=args.max_batch_size,
        max_num_tokens=args.max_num_tokens or 8192,
        max_seq_len=args.max_seq_len or config.get("max_position_embeddings") or 2048,
        max_beam_width=args.max_beam_width,
        world_size=args.tensor_parallel_size,
    )


def read_config(folder: Path) -> dict:
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} is no local model folder: it has no config.json")
    return json.loads((folder / "config.json").read_text())


def _check_parallel(mapping: dict, args: TrtLlmArgs) -> None:
    """Trap: 1, the default, means the engine's."""
    for key, name in PARALLEL.items():
        given, built = getattr(args, name), mapping.get(key, 1)
        if given not in (1, built):
            raise ValueError(f"{name} is {given}, but the engine was built for {built}")


def _existing(text: str) -> Path:
    if not (Path(text) / "openvino_model.xml").is_file():
        raise RuntimeError(f"{text} holds no openvino_model.xml")
    return Path(text)
