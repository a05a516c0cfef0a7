# SPDX-License-Identifier: Apache-2.0
"""Writes a TensorRT-LLM checkpoint: config.json, and a small file of invented weights a rank."""

import json
import struct
from pathlib import Path

MANDATORY = (
    "architecture",
    "dtype",
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "hidden_act",
)
NOT_QUANTIZED = {
    "quant_algo": None,
    "kv_cache_quant_algo": None,
    "group_size": 64,
    "has_zero_point": False,
    "pre_quant_scale": False,
    "exclude_modules": None,
}


def read_hugging_face(folder: str | None, fail) -> dict:
    """Read a model folder's config.json; `fail` ends the command with a message."""
    if folder is None:
        fail("--model_dir is required")
    path = Path(folder)
    if not (path / "config.json").is_file():
        fail(f"{path}/config.json: no such file")
    if not [*path.glob("*.safetensors"), *path.glob("*.bin")]:
        fail(f"{path} has no weights")
    return json.loads((path / "config.json").read_text())


def config_of(source: dict, args, quantization: dict) -> dict:
    """Return the documented keys."""
    heads = source["num_attention_heads"]
    return {
        "architecture": source["architectures"][0],
        "dtype": dtype_of(source, args.dtype),
        "logits_dtype": "float32",
        "vocab_size": source["vocab_size"],
        "hidden_size": source["hidden_size"],
        "num_hidden_layers": source["num_hidden_layers"],
        "num_attention_heads": heads,
        "num_key_value_heads": source.get("num_key_value_heads") or heads,
        "hidden_act": source.get("activation_function") or source.get("hidden_act"),
        "intermediate_size": source.get("ffn_dim") or source.get("intermediate_size"),
        "norm_epsilon": source.get("rms_norm_eps", 1e-5),
        "position_embedding_type": "learned_absolute" if "ffn_dim" in source else "rope_gpt_neox",
        "max_position_embeddings": source.get("max_position_embeddings"),
        "mapping": _mapping(args),
        "quantization": {**NOT_QUANTIZED, **quantization},
    }


def dtype_of(source: dict, asked: str) -> str:
    """Return the dtype; auto is the checkpoint's own, but float16 for float32."""
    own = source.get("dtype") or source.get("torch_dtype") or "float16"
    return {"float32": "float16"}.get(own, own) if asked == "auto" else asked


def _mapping(args) -> dict:
    sizes = {name: getattr(args, name, 1) for name in ("tp_size", "pp_size", "cp_size")}
    return {"world_size": sizes["tp_size"] * sizes["pp_size"] * sizes["cp_size"], **sizes}


def write(folder: str, config: dict) -> None:
    output = Path(folder)
    output.mkdir(parents=True, exist_ok=True)
    (output / "config.json").write_text(json.dumps(config, indent=4))
    for rank in range(config["mapping"]["world_size"]):
        (output / f"rank{rank}.safetensors").write_bytes(_one_tensor(rank))


def _one_tensor(rank: int) -> bytes:
    """The safetensors format: the header's length in eight bytes, the header in JSON, the numbers."""
    header = {"rank": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + struct.pack("<q", rank)
