# SPDX-License-Identifier: Apache-2.0
"""An estimate of the GPU memory that an engine directory needs, from its files and its config.json.

It is a lower bound: activations and the memory of CUDA and of the libraries (one or two GB together) are not
included. An engine that does not fit by this estimate cannot be loaded; one that just fits may still fail.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_ensemble.errors import EngineDirectoryError
from llm_ensemble.manifest import ENGINE, MODELOPT, Manifest

DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
WEIGHTS = {"tensorrt": ("*.engine", "*.safetensors"), "pytorch": ("*.safetensors",)}


@dataclass(frozen=True)
class Estimate:
    """Memory of each GPU, in bytes: in total, of the weights, of the KV cache, of one token in that cache.

    max_seq_len: tokens of the longest request.
    """

    gpu_bytes: int
    weights: int
    kv_cache: int
    kv_token: int
    max_seq_len: int

    @property
    def tokens(self) -> int:
        """Tokens that the KV cache holds, over all requests."""
        return self.kv_cache // self.kv_token

    @property
    def fits(self) -> bool:
        """Whether the weights fit, and beside them one request of full length."""
        return self.weights < self.gpu_bytes and self.tokens >= self.max_seq_len

    def __str__(self) -> str:
        return (
            f"on each GPU of {_gb(self.gpu_bytes)}: weights {_gb(self.weights)}, KV cache at most "
            f"{_gb(self.kv_cache)} ({self.kv_token / 1e3:.1f} kB a token, room for {self.tokens:,} tokens; "
            f"one request may have {self.max_seq_len:,})"
        )


def estimate(engine_dir: Path, manifest: Manifest, gpu_bytes: int, fraction: float) -> Estimate:
    """Return the estimate for the tensorrt_llm engine in `engine_dir` on GPUs of gpu_bytes each.

    fraction: the KV cache's part of the memory that the weights leave free. Raises EngineDirectoryError if
    engine/config.json cannot be read.
    """
    folder = engine_dir / ENGINE
    patterns = WEIGHTS[manifest.backend or "tensorrt"]
    files = [path for pattern in patterns for path in folder.glob(pattern)]
    weights = sum(path.stat().st_size for path in files) // manifest.tensor_parallel
    try:
        token = _kv_token_bytes(_model_config(folder, manifest), manifest.tensor_parallel)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineDirectoryError(
            f"{folder}/config.json does not describe a model ({error!r}): build the engine again"
        ) from error
    free = max(0, gpu_bytes - weights)
    return Estimate(gpu_bytes, weights, int(free * fraction), token, manifest.limits.max_seq_len)


def _model_config(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """Return the model's config with the same keys for both backends.

    kv_cache: the algorithm by which the KV cache is quantized, or None.
    """
    config: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
    if manifest.backend == "pytorch":
        quantization = _read_json(folder / MODELOPT).get("quantization", {})
        dtype = config.get("torch_dtype") or config["dtype"]
        return {
            **config,
            "dtype": dtype,
            "kv_cache": quantization.get("kv_cache_quant_algo"),
            "head_size": config.get("head_dim"),
        }
    model: dict[str, Any] = config["pretrained_config"]
    return {**model, "kv_cache": (model.get("quantization") or {}).get("kv_cache_quant_algo")}


def _kv_token_bytes(model: dict[str, Any], tensor_parallel: int) -> int:
    """Return the bytes of a token's keys and values on each GPU.

    Heads are divided among the GPUs; with fewer heads than GPUs they are repeated.
    """
    attention_heads = model["num_attention_heads"]
    heads = model.get("num_key_value_heads") or attention_heads
    head_size = model.get("head_size") or model["hidden_size"] // attention_heads
    value_bytes = 1 if model["kv_cache"] else DTYPE_BYTES[model["dtype"]]  # FP8 or INT8
    return int(2 * model["num_hidden_layers"] * -(-heads // tensor_parallel) * head_size * value_bytes)


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    return content


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
