# SPDX-License-Identifier: Apache-2.0
"""Make the engine directories that the GPU's tests and table need, of nothing but the demo model.

    $ENGINE_PYTHON -m benchmarks.gpu.engines FOLDER [demo demo-fp16 opt-125m qwen3-8b qwen3-8b-tp2]

In an environment with torch and transformers. What is there already stays. opt-125m has random weights in
OPT-125m's shape; qwen3-8b a configuration and a tokenizer alone (dummy/kind.py).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.gpu.dummy.kind import NAME as DUMMY
from benchmarks.pace.make_engine import END_ID, PAD_ID
from llm_ensemble.manifest import (
    ENGINE,
    MANIFEST,
    SCHEMA,
    TOKENIZER,
    Limits,
    Manifest,
    Model,
    RequestDefaults,
    tokenizer_sha256,
    write_manifest,
)

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "models/demo"
# Both servers of a comparison get them: 256 sequences, 8,192 tokens a step.
SEQUENCES, STEP_TOKENS = 256, 8192
POSITIONS = 2048
# Qwen3-8B's config.json.
QWEN3 = {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": END_ID,
    "eos_token_id": END_ID,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 12288,
    "max_position_embeddings": 40960,
    "max_window_layers": 36,
    "model_type": "qwen3",
    "num_attention_heads": 32,
    "num_hidden_layers": 36,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}


def make_engine(name: str, folder: Path) -> Path:
    """Make one of ENGINES under a folder, unless it is there; return its directory."""
    directory = folder / name
    if not (directory / MANIFEST).exists():
        began = time.monotonic()
        ENGINES[name](directory)
        sys.stdout.write(f"{directory} made in {time.monotonic() - began:.1f} s\n")
        sys.stdout.flush()
    return directory


def _make_demo(directory: Path, precision: str = "fp32") -> None:
    _build(DEMO, directory, "--precision", precision, "--max-batch-size", "8", "--max-num-tokens", "512")


def _make_opt(directory: Path) -> None:
    checkpoint = directory.with_name(f"{directory.name}-checkpoint")
    _run(str(ROOT / "benchmarks/opt_checkpoint.py"), str(checkpoint))
    limits = ("--max-batch-size", str(SEQUENCES), "--max-num-tokens", str(STEP_TOKENS))
    _build(checkpoint, directory, "--precision", "fp16", *limits)


def _build(checkpoint: Path, directory: Path, *options: str) -> None:
    """Build without loading the engine, which the tests do: it takes half a minute on a GPU."""
    command = ("-m", "build_scripts.build", "--engine", "vllm", "--model", str(checkpoint))
    _run(*command, "--output", str(directory), *options, CUDA_VISIBLE_DEVICES="")


def _run(*words: str, **environ: str) -> None:
    subprocess.run([sys.executable, *words], cwd=ROOT, env={**os.environ, **environ}, check=True)


def _make_qwen3(directory: Path, tensor_parallel: int = 1) -> None:
    """Write a directory of the kind DUMMY: configuration, tokenizer, manifest."""
    shutil.rmtree(directory, ignore_errors=True)
    (directory / ENGINE).mkdir(parents=True)
    (directory / TOKENIZER).mkdir()
    (directory / ENGINE / "config.json").write_text(json.dumps(QWEN3, indent=1))
    for name in ("tokenizer_config.json", "generation_config.json"):
        shutil.copy(DEMO / name, directory / TOKENIZER)
    tokenizer = json.loads((DEMO / "tokenizer.json").read_bytes())
    (directory / TOKENIZER / "tokenizer.json").write_text(json.dumps(widened(tokenizer, QWEN3["vocab_size"])))
    # Where another server looks for a model: everything in one folder.
    for path in (directory / TOKENIZER).iterdir():
        shutil.copy(path, directory / ENGINE)
    limits = Limits(
        max_batch_size=SEQUENCES,
        max_input_len=POSITIONS - 1,
        max_seq_len=POSITIONS,
        max_num_tokens=STEP_TOKENS,
    )
    manifest = Manifest(
        schema=SCHEMA,
        engine=DUMMY,
        model=Model(name="qwen3-8b-shape", revision=None, architecture="Qwen3ForCausalLM"),
        precision="bf16",
        limits=limits,
        tensor_parallel=tensor_parallel,
        versions={},
        tokenizer_sha256=tokenizer_sha256(directory),
        defaults=RequestDefaults(max_tokens=128, end_ids=[END_ID], pad_id=PAD_ID),
    )
    write_manifest(directory, manifest)


def widened(tokenizer: dict, size: object) -> dict:
    """Return a byte-level BPE tokenizer with words added up to so many: any id is text, no text differs."""
    vocabulary = tokenizer["model"]["vocab"]
    assert isinstance(size, int)
    vocabulary |= {f"\u0120w{number}": number for number in range(len(vocabulary), size)}
    return tokenizer


ENGINES = {
    "demo": _make_demo,
    "demo-fp16": lambda directory: _make_demo(directory, "fp16"),
    "opt-125m": _make_opt,
    "qwen3-8b": _make_qwen3,
    "qwen3-8b-tp2": lambda directory: _make_qwen3(directory, 2),
}


def main() -> None:
    """Make the engines that are named, or all."""
    folder, *names = sys.argv[1:]
    for name in names or ENGINES:
        make_engine(name, Path(folder).absolute())


if __name__ == "__main__":
    main()
