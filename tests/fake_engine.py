# SPDX-License-Identifier: Apache-2.0
"""Engine directories for the fake TensorRT-LLM, which computes with an OpenVINO engine's model."""

import json
import shutil
from pathlib import Path

import msgspec

from llm_ensemble.manifest import ENGINE, TOKENIZER, read_manifest, write_manifest
from tests.fakes import write_engine


def fake_engine(
    openvino: Path, folder: Path, *, ranks: int = 1, log_probs: bool = True, lora_rank: int = 0, **limits
) -> Path:
    """Write an engine directory of the tensorrt backend to `folder`; return it.

    limits: those that differ from the engine directory `openvino`. log_probs: build it with logits.
    lora_rank: build it with lora_plugin, for adapters of this rank at most.
    """
    manifest = read_manifest(openvino)
    limits = msgspec.structs.replace(manifest.limits, **limits)
    shutil.copytree(openvino / TOKENIZER, folder / TOKENIZER)
    build_config = {**msgspec.to_builtins(limits), "gather_generation_logits": log_probs}
    if lora_rank:
        build_config["plugin_config"] = {"lora_plugin": "auto"}
        build_config["lora_config"] = {"max_lora_rank": lora_rank}
    mapping = {"world_size": ranks, "tp_size": ranks, "pp_size": 1}
    write_engine(folder / ENGINE, (openvino / ENGINE).resolve(), mapping, **build_config)
    kind = {"engine": "tensorrt_llm", "backend": "tensorrt", "tensor_parallel": ranks}
    versions = {"tensorrt_llm": "1.2.1"}
    write_manifest(folder, msgspec.structs.replace(manifest, limits=limits, versions=versions, **kind))
    return folder


def fake_checkpoint(openvino: Path, folder: Path, **limits) -> Path:
    """Write an engine directory of the pytorch backend; FAKE_TRTLLM_IR must name the model that computes."""
    fake_engine(openvino, folder, **limits)
    shutil.rmtree(folder / ENGINE)
    (folder / ENGINE).mkdir()
    (folder / ENGINE / "config.json").write_text(
        json.dumps({"architectures": ["LlamaForCausalLM"], "vocab_size": 4096})
    )
    (folder / ENGINE / "model.safetensors").write_bytes(b"")
    write_manifest(folder, msgspec.structs.replace(read_manifest(folder), backend="pytorch"))
    return folder
